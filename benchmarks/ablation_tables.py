"""The tables that `benchmarks.ablations` trains, as data.

All rows of a table share its stage: AdamW, one cosine, as many photos seen, at one small size. A row says what it
changes. So short a training compares; it does not reach what the papers print.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from keras_models import blocks, models, registry
from keras_models.networks import deeplabv3plus, eoam, improved_deeplabv3plus, pocketnet
from keras_models.training import methods
from keras_models.training.recipes import AdamW, CosineDecay, CrossEntropy, Lovasz, LovaszBoundary, Muon, Stage

PEOPLE = "foreground_iou"
CLASSES = "mean_iou"
PARTS = "mean_iou_without_background"


@dataclass(frozen=True)
class Row:
    """A network and what its training changes.

    network: a registered name. builder: another one than that network's own. changes: of the table's stage, by the
    names of its fields. sizes: of the stages, as shares of the input's sides, each with an equal share of the pixels
    that a run sees. more: photos of --more are trained on, too. weights: a model to begin from. published: what the
    paper prints.
    """

    title: str
    network: str
    published: str = ""
    builder: Callable | None = None
    changes: dict = field(default_factory=dict)
    sizes: tuple[float, ...] = (1.0,)
    more: bool = False
    weights: str | None = None


@dataclass(frozen=True)
class Table:
    """dataset: the kind of photos, measured on `split`. metric: a figure of `keras_models.evaluate`.

    photos: how many each run sees, some five minutes on two idle cores.
    """

    title: str
    dataset: str
    metric: str
    input_size: tuple[int, int]
    photos: int
    rows: tuple[Row, ...]
    stage: Stage
    split: str = "test"


SHORT = Stage(
    batch_size=24,
    learning_rate=5e-3,
    optimizer=AdamW(weight_decay=1e-2),
    schedule=CosineDecay(final=1e-5),
    loss=CrossEntropy(),
    augmentation=methods.MILD,
)


def with_eoam(network: str, low: str) -> Callable:
    """The builder of `network` whose logits the EOAM supplements with the output of layer `low`, brought to their size.

    The poster does not say where it stands in other networks. Here it is the last step of each.
    """

    def builder(image, classes):
        import keras

        logits = registry.network(network).builder(image, classes)
        features = keras.Model(image, logits).get_layer(low).output
        features = blocks.bilinear_half_pixel(features, logits.shape[1] // features.shape[1], name="eoam_up")
        return eoam.edge_optimized_attention(features, logits, name="eoam")

    return builder


def eoam_without_gate(image, classes):
    """The EOAM network that adds the low-level features everywhere."""
    return eoam.network(image, classes, eoam.ungated)


def small_deeplab(backbone: str, pyramid: Callable) -> Callable:
    """DeepLabv3+ on a backbone a quarter as wide and with 4 blocks where 16 (Xception) or 23 (ResNet) were."""
    kinds = {
        "xception": partial(deeplabv3plus.xception, width=0.25, middle=4),
        "resnet": partial(deeplabv3plus.resnet101, width=0.25, counts=(3, 4, 4, 3)),
    }
    return lambda image, classes: deeplabv3plus.encoder_decoder(image, classes, kinds[backbone], pyramid)


def pocketnet_plain_to_stride_4(image, classes):
    """PocketNet plain with logits at a quarter of the resolution."""
    shape = replace(pocketnet.SHAPES["pocketnet_plain"], decoder=(64, 32, 0))
    return pocketnet.pocketnet(image, classes, shape)


_DEEPLAB = "improved_deeplabv3plus"
_TEACHER = str(models.find("pocketnet-l").with_name("pocketnet-l-int8.tflite"))
_POCKET = replace(SHORT, loss=methods.POCKET.stages[0].loss, clip_norm=1.0)
_SCENES = pocketnet.SCENES
_PASTE = replace(methods.MILD, paste=_SCENES.paste)
_LIGHT = replace(
    methods.MILD,
    **{
        name: getattr(_SCENES, name)
        for name in ("saturation", "gamma", "temperature", "shadow", "jpeg", "motion_blur", "downscale")
    },
)

TABLES = {
    "extremec3-losses": Table(
        "ExtremeC3Net, table 3: losses and generated photos",
        "eg1800",
        PEOPLE,
        (96, 96),
        18_000,
        (
            Row("cross-entropy", "extremec3", "94.09"),
            Row("+ generated photos", "extremec3", "94.27", more=True),
            Row("+ Lovász", "extremec3", "94.45", changes={"loss": Lovasz()}, more=True),
            Row("+ boundary", "extremec3", "94.97", changes={"loss": LovaszBoundary(kernel=3)}, more=True),
        ),
        SHORT,
    ),
    "extremec3-dilations": Table(
        "ExtremeC3Net, table 4: dilations",
        "eg1800",
        PEOPLE,
        (96, 96),
        18_000,
        (
            Row("baseline: large everywhere", "extremec3_baseline", "93.16"),
            Row("advanced: large at L4 to L8", "extremec3", "94.09"),
            Row("reverse: large at L1 to L3", "extremec3_reverse", "92.33"),
        ),
        SHORT,
    ),
    "ccc-structures": Table(
        "C3 paper, table 3: structures, on CamVid",
        "camvid",
        CLASSES,
        (176, 240),
        5_500,
        (
            Row("(1) ESPNet", "espnet", "60.74"),
            Row("(2) separable ESPNet", "ds_espnet_decoder", "57.81"),
            Row("(3) structure A", "ccc_structure_a", "54.24"),
            Row("(4) structure A, more layers", "ccc_structure_a_deep", "55.22"),
            Row("(5) structure B", "ccc_structure_b", "58.56"),
            Row("(6) structure C, dw-Asym", "ccc_structure_c_linear", "59.57"),
            Row("(7) structure C, dw-AsymNL", "ccc1", "60.98"),
        ),
        replace(SHORT, batch_size=8, augmentation=methods.STREET),
        split="val",
    ),
    "improved-deeplabv3plus": Table(
        "Improved DeepLabv3+, tables 2 and 3 and figure 5: SE, ASPP, backbone, at a quarter of the width",
        "ccp_parts",
        PARTS,
        (96, 64),
        18_000,
        (
            Row("improved", _DEEPLAB, "0.691", small_deeplab("xception", improved_deeplabv3plus.improved_aspp)),
            Row(
                "without SE",
                _DEEPLAB,
                "",
                small_deeplab("xception", partial(improved_deeplabv3plus.improved_aspp, attention=False)),
            ),
            Row("original ASPP", _DEEPLAB, "0.657", small_deeplab("xception", improved_deeplabv3plus.original_aspp)),
            Row("ResNet", _DEEPLAB, "0.673", small_deeplab("resnet", improved_deeplabv3plus.improved_aspp)),
            Row("DeepLabv3+", _DEEPLAB, "0.679", small_deeplab("xception", deeplabv3plus.aspp)),
        ),
        SHORT,
        split="val",
    ),
    "eoam-elsewhere": Table(
        "EOAM's poster, second table: the module in other networks",
        "eg1800",
        PEOPLE,
        (96, 96),
        9_000,
        tuple(
            row
            for title, network, low, without, with_it in (
                ("ENet", "enet", "initial_prelu", "95.16", "95.72"),
                ("ESPNet", "espnet_c", "level1_prelu", "94.65", "95.27"),
                ("MobileNetV3", "mobilenetv3", "stem_act", "94.19", "94.75"),
                ("PortraitNet", "portraitnet", "stem_relu", "95.99", "96.27"),
                ("SINet", "sinet", "level1_prelu", "94.81", "95.49"),
            )
            for row in (
                Row(title, network, without),
                Row(f"{title} + EOAM", network, with_it, with_eoam(network, low)),
            )
        ),
        SHORT,
    ),
    "eoam-gate": Table(
        "EOAM with its gate and without",
        "eg1800",
        PEOPLE,
        (96, 96),
        24_000,
        (Row("EOAM", "eoam", "96.01"), Row("without the gate", "eoam", "", eoam_without_gate)),
        replace(SHORT, edge_class=3),
    ),
    "parts": Table(
        "PocketNet plain beside LIP-Net: body parts",
        "ccp_parts",
        CLASSES,
        (96, 64),
        8_000,
        (Row("LIP-Net", "lipnet"), Row("PocketNet plain", "pocketnet_plain")),
        SHORT,
        split="val",
    ),
    "streets": Table(
        "PocketNet plain beside CCC2: streets",
        "camvid",
        CLASSES,
        (192, 256),
        5_500,
        (Row("CCC2", "ccc2"), Row("PocketNet plain", "pocketnet_plain")),
        replace(SHORT, batch_size=8, augmentation=methods.STREET),
        split="val",
    ),
    "pocketnet": Table(
        "PocketNet plain: what each step of its training brings",
        "mix",
        PEOPLE,
        (96, 96),
        40_000,
        (
            Row("mild augmentation alone", "pocketnet_plain"),
            Row("+ averaged weights", "pocketnet_plain", changes={"ema": 0.99}),
            Row("+ people pasted", "pocketnet_plain", changes={"augmentation": _PASTE}),
            Row("+ light and camera", "pocketnet_plain", changes={"augmentation": _LIGHT}),
            Row("Lovász and its boundary term", "pocketnet_plain", changes={"loss": LovaszBoundary(kernel=3)}),
            Row("decoder to stride 4", "pocketnet_plain", builder=pocketnet_plain_to_stride_4),
            Row("growing sizes", "pocketnet_plain", sizes=(2 / 3, 1.0)),
            Row("Muon", "pocketnet_plain", changes={"optimizer": Muon(weight_decay=1e-2)}),
            Row("taught by pocketnet-l, too", "pocketnet_plain", changes={"teacher": _TEACHER}),
        ),
        _POCKET,
        split="val",
    ),
}
