"""The papers' tables as data: what each row prints, and which network here it is.

Figures are the papers' own characters, so that a comparison can know how many digits they print.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One row of a table. `network` is the registered name.

    parameters, flops, macs, accuracy: as printed, "" where the table has none; a K, M or G follows the digits.
    options: `classes` and `input_size` where they differ from the network's registered ones.
    rule: how the row's FLOPs were counted: `all` (the papers' rule), `conv + bn` (no deconvolution, no activation),
    `no deconv`, or `one per MAC` (a convolution counts its multiply-accumulates once).
    misprints: the figures that the paper prints wrongly, as `note` says.
    recipe: the network's recipe by which the row is trained here, where rows share a network.
    others: what the table prints besides, as `Table.others` names it.
    """

    method: str
    network: str
    parameters: str = ""
    flops: str = ""
    macs: str = ""
    accuracy: str = ""
    options: dict = field(default_factory=dict)
    rule: str = "all"
    misprints: tuple[str, ...] = ()
    note: str = ""
    recipe: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of a paper; `accuracy` names the metric of its rows, `others` what else they print."""

    paper: str
    title: str
    accuracy: str
    rows: tuple[Row, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figures:
    """A table of a paper about something else than networks: its columns and its rows as printed."""

    paper: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
CITYSCAPES = (512, 1024)
FOREGROUND_IOU = "mIoU (foreground IoU per image)"
PARTS_IOU = "mean IoU without the background"

TABLES = (
    Table(
        "ExtremeC3Net",
        "table 2: EG1800, 224x224",
        FOREGROUND_IOU,
        (
            Row("ENet", "enet", "355K", "0.703G", "0.346G", "95.16", rule="conv + bn"),
            Row("BiSeNet", "bisenet", "12.4M", "4.64G", "2.31G", "94.91"),
            Row("PortraitNet", "portraitnet", "2.08M", "0.666G", "0.325G", "95.99", rule="conv + bn"),
            Row("ESPNet", "espnet_c", "345K", "0.665G", "0.328G", "94.65"),
            Row("DS-ESPNet", "ds_espnet", "143K", "0.418G", "0.199G", "93.60"),
            Row("DS-ESPNet(0.5)", "ds_espnet_half", "63.9K", "0.296G", "0.139G", "92.59"),
            Row("ESPNetV2(2.0)", "espnetv2", "778K", "0.476G", "0.231G", "94.50"),
            Row("ESPNetV2(1.5)", "espnetv2_15", "458K", "0.285G", "0.137G", "94.27"),
            Row("ContextNet12", "contextnet12", "838K", "3.17G", "1.55G", "95.71"),
            Row("ContextNet12(0.25)", "contextnet12_quarter", "67.2K", "0.372G", "0.176G", "93.24"),
            Row("ExtremeC3Net", "extremec3", "37.7K", "0.286G", "0.128G", "94.23"),
            Row("ExtremeC3Net + generated dataset", "extremec3", "37.7K", "0.286G", "0.128G", "94.98"),
        ),
    ),
    Table(
        "ExtremeC3Net",
        "table 3: losses and generated photos",
        FOREGROUND_IOU,
        (
            Row("Cross-entropy", "extremec3", accuracy="94.09", recipe="cross_entropy", others=("no",)),
            Row("+ generated dataset", "extremec3", accuracy="94.27", recipe="cross_entropy", others=("yes",)),
            Row("+ Lovász", "extremec3", accuracy="94.45", recipe="lovasz", others=("yes",)),
            Row("+ boundary", "extremec3", accuracy="94.97", recipe="paper", others=("yes",), note="table 2 has 94.98"),
            Row("All but the generated dataset", "extremec3", accuracy="94.23", recipe="paper", others=("no",)),
        ),
        others=("generated photos",),
    ),
    Table(
        "ExtremeC3Net",
        "table 4: dilations",
        FOREGROUND_IOU,
        (
            Row("Baseline setting", "extremec3_baseline", accuracy="93.16", recipe="cross_entropy", others=("all",)),
            Row("Advanced setting", "extremec3", accuracy="94.09", recipe="cross_entropy", others=("L4 to L8",)),
            Row("Reverse setting", "extremec3_reverse", accuracy="92.33", recipe="cross_entropy", others=("L1 to L3",)),
        ),
        others=("large dilations",),
    ),
    Table(
        "C3",
        "table 2: Cityscapes, 1024x512",
        "class mIoU",
        (
            Row("FCN-8S", "fcn8s", "134.5M", "970.15G", accuracy="65.3"),
            Row("Segnet (512x256)", "segnet", "29.5M", "163.1G", accuracy="57.0"),
            Row(
                "DeepLabV3+",
                "deeplabv3plus",
                "41.06M",
                "280.08G",
                accuracy="82.1",
                options={"classes": 19, "input_size": CITYSCAPES},
            ),
            Row("DenseASPP121", "denseaspp121", "8.28M", "155.82G", accuracy="76.2"),
            Row("DRN-A50", "drn_a_50", "23.55M", "400.15G", accuracy="67.3"),
            Row("DRN-C26", "drn_c_26", "20.62M", "355.18G", accuracy="68.0"),
            Row("CCC-DRN-A50", "ccc_drn_a_50", "16.79M", "289.28G", accuracy="67.12"),
            Row("CCC-DRN-C26", "ccc_drn_c_26", "7.34M", "137.44G", accuracy="67.6"),
            Row(
                "Enet",
                "enet",
                "0.364M",
                "8.52G",
                accuracy="58.3",
                options={"classes": 20, "input_size": CITYSCAPES},
                note="0.364M is cited from elsewhere",
            ),
            Row("Skip-Shuffle", "skip_shufflenet", "1.0M", "6.22G", accuracy="58.3"),
            Row("Skip-Mobile", "skip_mobilenet", "3.37M", "15.38G", accuracy="62.4"),
            Row(
                "ContextNet-cn12 (2048x1024)",
                "contextnet12",
                "0.85M",
                "32.68G",
                accuracy="68.7",
                options={"classes": 20, "input_size": (1024, 2048)},
                note="cited from ContextNet's paper",
            ),
            Row("ERFnet", "erfnet", "2.1M", "53.48G", accuracy="68.0"),
            Row("CCC-ERFnet", "ccc_erfnet", "1.45M", "43.34G", accuracy="69.01"),
            Row("ESPnet", "espnet", "0.364M", "9.67G", accuracy="60.3"),
            Row("ESPnet-tiny", "espnet_tiny", "0.202M", "6.48G", accuracy="56.3", rule="no deconv"),
            Row("CCC1", "ccc1", "0.198M", "6.45G", accuracy="60.98"),
            Row("CCC2", "ccc2", "0.192M", "6.29G", accuracy="61.96"),
            Row("CCC-ESPnet", "ccc_espnet", "0.21M", "6.75G", accuracy="61.06"),
        ),
    ),
    Table(
        "C3",
        "table 3: ablations, 1024x512",
        "class mIoU",
        (
            Row(
                "(1) Baseline ESPnet",
                "espnet",
                "0.364M",
                "9.07G",
                accuracy="60.74",
                misprints=("flops",),
                note="9.07 for 9.67",
            ),
            Row("(2) Depth-wise separable ESPnet", "ds_espnet_decoder", "0.128M", "4.93G", accuracy="57.81"),
            Row("(3) Structure A", "ccc_structure_a", "0.152M", "5.44G", accuracy="54.24"),
            Row("(4) Structure A, more layers", "ccc_structure_a_deep", "0.187M", "6.26G", accuracy="55.22"),
            Row("(5) Structure B", "ccc_structure_b", "0.580M", "15.68G", accuracy="58.56"),
            Row("(6) Structure C, dw-Asym", "ccc_structure_c_linear", "0.194M", "6.40G", accuracy="59.57"),
            Row("(7) Structure C, dw-AsymNL", "ccc1", "0.198M", "6.45G", accuracy="60.98"),
        ),
    ),
    Table(
        "C3",
        "table 4: ImageNet, 224x224",
        "top-1",
        tuple(
            Row(method, f"{network}_imagenet", parameters, flops, accuracy=top1, rule="one per MAC", others=(top5,))
            for method, network, parameters, flops, top1, top5 in (
                ("DRN A-34", "drn_a_34", "21.8M", "17.33G", "75.19", "91.26"),
                ("DRN A-50", "drn_a_50", "25.6M", "19.15G", "77.06", "93.43"),
                ("DRN C-26", "drn_c_26", "21.1M", "17.0G", "75.14", "92.45"),
                ("DRN C-42", "drn_c_42", "31.2M", "25.1G", "77.06", "93.43"),
                ("CCC-DRN A-50", "ccc_drn_a_50", "18.8M", "13.85G", "76.51", "93.02"),
                ("CCC DRN C-26", "ccc_drn_c_26", "7.85M", "6.59G", "73.43", "91.33"),
                ("CCC DRN C-28*", "ccc_drn_c_28", "13.11M", "10.72G", "74.39", "91.99"),
                ("CCC DRN C-42", "ccc_drn_c_42", "9.63M", "8.17G", "74.96", "92.31"),
                ("CCC DRN C-44*", "ccc_drn_c_44", "14.90M", "12.3G", "75.64", "92.63"),
            )
        ),
        others=("top-5",),
    ),
    Table(
        "EOAM",
        "poster: EG1800, 224x224 (its FLOPs are multiply-accumulates)",
        FOREGROUND_IOU,
        (
            Row("A ENet", "enet", "0.355M", macs="0.346G", accuracy="95.16"),
            Row(
                "B BiSeNet",
                "bisenet",
                "0.124M",
                macs="2.310G",
                accuracy="94.91",
                misprints=("parameters",),
                note="0.124 for 12.4",
            ),
            Row("C ESPNet", "espnet_c", "0.345M", macs="0.328G", accuracy="94.65"),
            Row("D PortraitNet", "portraitnet", "2.08M", macs="0.325G", accuracy="95.99"),
            Row("E DS-ESPNet", "ds_espnet", "0.143M", macs="0.199G", accuracy="94.10"),
            Row("F DS-ESPNet(0.5)", "ds_espnet_half", "0.064M", macs="0.139G", accuracy="93.58"),
            Row("G ESPNetV2(1.5)", "espnetv2_15", "0.458M", macs="0.137G", accuracy="94.00"),
            Row("H ESPNetV2(2.0)", "espnetv2", "0.778M", macs="0.231G", accuracy="94.71"),
            Row("I ContextNet12", "contextnet12", "0.838M", macs="1.870G", accuracy="95.71"),
            Row("J MobileNetV3", "mobilenetv3", "0.458M", macs="0.066G", accuracy="94.19"),
            Row("K SINet", "sinet", "0.087M", macs="0.064G", accuracy="94.81"),
            Row("L SINet+", "sinet", "0.087M", macs="0.064G", accuracy="95.29"),
            Row("Ours", "eoam", "0.021M", macs="0.061G", accuracy="96.01"),
        ),
    ),
    Table(
        "EOAM",
        "poster, second table: the module in other networks (its letters are not the first table's)",
        FOREGROUND_IOU,
        tuple(
            Row(method, network, accuracy=baseline, others=(with_eoam, gain))
            for method, network, baseline, with_eoam, gain in (
                ("A ENet", "enet", "95.16", "95.72", "+0.56"),
                ("B BiSeNet", "bisenet", "94.91", "95.49", "+0.58"),
                ("C ESPNet", "espnet_c", "94.65", "95.27", "+0.62"),
                ("D DS-ESPNet", "ds_espnet", "94.10", "94.61", "+0.51"),
                ("E DS-ESPNet(0.5)", "ds_espnet_half", "93.58", "93.93", "+0.35"),
                ("F ContextNet12", "contextnet12", "95.71", "95.94", "+0.23"),
                ("G PortraitNet", "portraitnet", "95.99", "96.27", "+0.28"),
                ("H ESPNetV2(1.5)", "espnetv2_15", "94.00", "94.68", "+0.68"),
                ("I ESPNetV2(2.0)", "espnetv2", "94.71", "95.06", "+0.35"),
                ("J SINet", "sinet", "94.81", "95.49", "+0.68"),
                ("K SINet+", "sinet", "95.29", "95.98", "+0.69"),
                ("L MobileNetV3", "mobilenetv3", "94.19", "94.75", "+0.56"),
            )
        ),
        others=("+EOAM", "gain"),
    ),
    Table(
        "Improved DeepLabv3+",
        "table 1: human parsing, 4 + 1 classes",
        PARTS_IOU,
        (
            Row(
                "SegNet",
                "segnet",
                accuracy="0.268",
                options={"classes": 5, "input_size": (512, 512)},
                recipe="improved_deeplabv3plus",
                others=("0.404", "0.261", "0.027", "0.379"),
            ),
            Row("U-net", "unet", accuracy="0.522", others=("0.665", "0.486", "0.270", "0.665")),
            Row("Deeplabv3+", "deeplabv3plus", accuracy="0.679", others=("0.708", "0.667", "0.499", "0.845")),
            Row(
                "Improved Deeplabv3+",
                "improved_deeplabv3plus",
                accuracy="0.691",
                others=("0.715", "0.685", "0.512", "0.854"),
            ),
        ),
        others=("head", "upper body", "hands", "lower body"),
    ),
    Table(
        "Improved DeepLabv3+",
        "tables 2 and 3 and figure 5: backbone, ASPP, SE-block",
        PARTS_IOU,
        (
            Row("Improved Deeplabv3+ (Xception)", "improved_deeplabv3plus", accuracy="0.691"),
            Row("Improved Deeplabv3+ (ResNet-101)", "improved_deeplabv3plus_resnet101", accuracy="0.673"),
            Row("Improved Deeplabv3+ (original ASPP)", "improved_deeplabv3plus_original_aspp", accuracy="0.657"),
            Row("Improved Deeplabv3+ (without SE-block)", "improved_deeplabv3plus_without_se"),
        ),
    ),
    Table(
        "LIP-Net",
        "table 1: Look into Person",
        "mIoU",
        (
            Row(
                "FCN-8s",
                "fcn8s",
                "134.3M",
                accuracy="59.7",
                options={"classes": 5, "input_size": (512, 512)},
                recipe="lipnet",
            ),
            Row("Seg-Net", "segnet", "29.46M", accuracy="64.8", recipe="lipnet", note="20 classes have 29,454,548"),
            Row("Deeplab_v2", "deeplabv2", "48.0M", accuracy="68.7"),
            Row("LIP-Net", "lipnet", "3.97M", accuracy="70.3"),
        ),
    ),
    Table(
        "Authors' code",
        "networks of the authors' repositories",
        "class mIoU of the repository's log",
        (
            Row("C3NetV2", "c3netv2", "0.18M", macs="2.66G", accuracy="66.28"),
            Row("SINet, Cityscapes (2048x1024)", "sinet_cityscapes", "0.12M", macs="1.22G", accuracy="68.22"),
        ),
    ),
)

# Number of the group in table 6: race, gender, age; and the photos of EG1800 that show it (table 7).
_GROUPS = tuple(
    (str(number), race, gender, age, *counts)
    for number, ((race, gender, age), counts) in enumerate(
        zip(
            (
                (race, gender, age)
                for race in ("Caucasian", "Asian", "Black")
                for gender in ("Man", "Woman")
                for age in ("Child", "Youth", "Senior")
            ),
            (
                ("50", "10"),
                ("326", "77"),
                ("56", "3"),
                ("53", "26"),
                ("575", "93"),
                ("38", "5"),
                ("5", "2"),
                ("59", "17"),
                ("5", "0"),
                ("15", "3"),
                ("79", "24"),
                ("5", "0"),
                ("2", "0"),
                ("12", "1"),
                ("1", "2"),
                ("5", "1"),
                ("26", "7"),
                ("0", "0"),
            ),
            strict=True,
        )
    )
)

FIGURES = (
    Figures(
        "ExtremeC3Net",
        "table 5: foreground IoU by attribute (experiment 1: resizing, cropping and flipping; 2: PortraitNet's "
        "augmentation)",
        ("attribute", "value", "images", "experiment 1", "experiment 2", "with generated photos"),
        (
            ("race", "Caucasian", "214", "93.67", "94.51", "94.81"),
            ("race", "Asian", "46", "94.31", "94.78", "93.79"),
            ("race", "Black", "11", "94.74", "95.05", "95.84"),
            ("gender", "Man", "112", "92.85", "94.21", "94.43"),
            ("gender", "Woman", "159", "94.54", "94.81", "94.91"),
            ("age", "Child", "42", "94.47", "93.86", "95.10"),
            ("age", "Youth", "219", "93.87", "94.79", "94.63"),
            ("age", "Senior", "10", "90.07", "92.97", "93.98"),
            ("all", "", "271", "94.09", "94.59", "94.98"),
        ),
    ),
    Figures(
        "ExtremeC3Net",
        "tables 6 and 7: EG1800's people (youth is youth or middle age)",
        ("group", "race", "gender", "age", "training", "validation"),
        _GROUPS,
    ),
    Figures(
        "C3",
        "table 1: an ESP and a CCC module, 128 channels at 128x128",
        ("part", "ESP parameters", "ESP MFLOPs", "CCC parameters", "CCC MFLOPs"),
        (
            ("A reduction", "3,200", "104.9", "4,096", "134.2"),
            ("B parallel branches", "28,800", "943.7", "9,472", "299.9"),
            ("C hierarchical feature fusion", "-", "0.066", "-", "-"),
            ("D skip-connection", "-", "0.016", "-", "0.016"),
            ("total", "31,325", "1,048.8", "13,568", "434.13"),
        ),
    ),
)
