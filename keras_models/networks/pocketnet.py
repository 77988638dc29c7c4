"""PocketNet: our own network, shaped by what the integer units of a phone do fast.

Plain convolutions, ReLU or ReLU6 alone, channels in multiples of 8, one global context at stride 32, and a decoder
that adds instead of concatenating. In int8 it is one partition of one delegate. s, m and l have that decoder on
features of EfficientNet-Lite0, which begin from ImageNet; the plain one is of our own layers throughout: dense 3x3
convolutions where channels are few, separable 5x5 residual blocks where they are many. `SHAPES` is the whole difference
between two of a kind. Any number of classes takes the same shapes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from keras import layers

from keras_models import blocks
from keras_models.data.augment import Augmentation
from keras_models.networks import efficientnet
from keras_models.registry import register
from keras_models.training import methods
from keras_models.training.recipes import AdamW, Recipe, Stage


@dataclass(frozen=True)
class Shape:
    """Widths and depths. `widths`: at strides 2, 4, 8, 16 and 32. `depths`: residual blocks at strides 8, 16 and 32.

    `decoder`: widths at strides 8, 4 and 2; 0 ends the decoder before that stride, and the logits are upsampled.
    `kernel_size`: of the depthwise convolutions. `context`: whether there is the global one at stride 32.
    """

    widths: tuple[int, int, int, int, int]
    depths: tuple[int, int, int]
    decoder: tuple[int, int, int]
    kernel_size: int = 5
    context: bool = True


@dataclass(frozen=True)
class Narrow:
    """Of a network on EfficientNet-Lite0's first six stages. `expansions`: of each stage's blocks.

    `decoder`: widths at strides 16, 8, 4 and 2. `repeats`: how many blocks of each stage. `channels`: of each stage.
    """

    expansions: tuple[int, int, int, int, int, int]
    decoder: tuple[int, int, int, int]
    repeats: tuple[int, int, int, int, int, int] = (1, 2, 2, 3, 2, 2)
    channels: tuple[int, int, int, int, int, int] = efficientnet.CHANNELS[:6]


SHAPES = {
    "pocketnet_plain": Shape(widths=(16, 32, 64, 128, 160), depths=(1, 2, 3), decoder=(64, 32, 16)),
    "pocketnet_s": Narrow(
        expansions=(1, 2, 3, 2, 2, 2),
        decoder=(48, 24, 16, 16),
        repeats=(1, 2, 2, 2, 1, 1),
        channels=(16, 16, 24, 48, 72, 80),
    ),
    "pocketnet_m": Narrow(expansions=(1, 2, 2, 3, 3, 2), decoder=(80, 32, 16, 16)),
    "pocketnet_l": Narrow(expansions=efficientnet.EXPANSIONS[:6], decoder=(96, 48, 32, 16)),
}


def _conv(x, filters, kernel_size=3, *, strides=1, act=True, name):
    """Convolution, batch normalisation, ReLU. TensorFlow's padding: a phone need not pad in an operation of its own."""
    x = layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False, kernel_initializer="he_normal", name=name)(
        x
    )
    x = layers.BatchNormalization(momentum=0.98, name=f"{name}_bn")(x)
    return blocks.relu(x, name=f"{name}_relu") if act else x


def _depthwise(x, kernel_size, *, strides=1, name):
    x = layers.DepthwiseConv2D(
        kernel_size, strides, "same", use_bias=False, depthwise_initializer="glorot_uniform", name=name
    )(x)
    return layers.BatchNormalization(momentum=0.98, name=f"{name}_bn")(x)


def _dense_block(x, *, name):
    """A residual of a 3x3 convolution to half the channels and a 1x1 back."""
    channels = x.shape[-1]
    y = _conv(x, channels // 2, name=f"{name}_reduce")
    y = _conv(y, channels, 1, act=False, name=f"{name}_expand")
    return blocks.relu(blocks.add([x, y], name=f"{name}_add"), name=f"{name}_relu")


def _separable_block(x, kernel_size, *, name):
    """A residual of a depthwise and two 1x1 convolutions."""
    channels = x.shape[-1]
    y = _conv(_depthwise(x, kernel_size, name=f"{name}_spread"), channels, 1, name=f"{name}_mix1")
    y = _conv(y, channels, 1, act=False, name=f"{name}_mix2")
    return blocks.relu(blocks.add([x, y], name=f"{name}_add"), name=f"{name}_relu")


def _context(x, *, name):
    """Adds what the whole photo says, the same to every pixel."""
    channels = x.shape[-1]
    y = blocks.global_pool(x, name=f"{name}_pool")
    y = blocks.relu(blocks.pointwise(y, channels, use_bias=True, name=f"{name}_fc1"), name=f"{name}_relu1")
    y = blocks.pointwise(y, channels, use_bias=True, name=f"{name}_fc2")
    return blocks.relu(blocks.add([x, y], name=f"{name}_add"), name=f"{name}_relu2")


def _merge(x, skip, channels, *, name):
    """The decoder's step: the coarser features upsampled, plus the finer ones, mixed by a 3x3 convolution."""
    coarse = blocks.pointwise(x, channels, use_bias=True, name=f"{name}_coarse")
    coarse = blocks.bilinear_half_pixel(coarse, 2, name=f"{name}_up")
    fine = blocks.pointwise(skip, channels, use_bias=True, name=f"{name}_fine")
    x = blocks.relu(blocks.add([coarse, fine], name=f"{name}_add"), name=f"{name}_relu")
    return _conv(x, channels, name=f"{name}_conv")


def pocketnet(image, classes, shape: Shape):
    """Logits (batch, height, width, classes) of `image` (batch, height, width, 3), RGB 0-255; sides multiples of 32."""
    x = layers.Rescaling(1 / 127.5, -1.0, name="normalise")(image)
    skips = []
    for stage, width in enumerate(shape.widths[:4], start=1):
        x = _conv(x, width, strides=2, name=f"stage{stage}_down")
        for i in range(shape.depths[0] if stage == 3 else 0):
            x = _dense_block(x, name=f"stage3_block{i + 1}")
        for i in range(shape.depths[1] if stage == 4 else 0):
            x = _separable_block(x, shape.kernel_size, name=f"stage4_block{i + 1}")
        skips.append(x)
    x = _conv(_depthwise(x, shape.kernel_size, strides=2, name="stage5_down"), shape.widths[4], 1, name="stage5_widen")
    for i in range(shape.depths[2]):
        x = _separable_block(x, shape.kernel_size, name=f"stage5_block{i + 1}")
    x = _context(x, name="context") if shape.context else x
    return _decode(x, skips, classes, (shape.widths[3], *shape.decoder))


def on_efficientnet(image, classes, shape: Narrow):
    """Logits as `pocketnet` gives them, of features that can begin from ImageNet."""
    *skips, x = efficientnet.features(image, shape.repeats, shape.expansions, shape.channels)
    x = _context(_conv(x, shape.decoder[0], 1, name="narrow"), name="context")
    return _decode(x, skips, classes, shape.decoder)


def _decode(x, skips, classes, widths):
    """Logits of features at stride 32 and of those at strides 2 to 16; `widths` at strides 16 to 2, 0 where it ends."""
    width, *finer = widths
    x = blocks.bilinear_half_pixel(_conv(x, width, 1, name="decode16_narrow"), 2, name="decode16_up")
    fine = skips[3] if skips[3].shape[-1] == width else _conv(skips[3], width, 1, act=False, name="decode16_fine")
    x = blocks.relu(blocks.add([x, fine], name="decode16_add"), name="decode16_relu")
    stride = 16
    for width, skip in zip(finer, skips[2::-1], strict=True):
        if width:
            stride //= 2
            x = _merge(x, skip, width, name=f"decode{stride}")
    x = blocks.pointwise(x, classes, use_bias=True, name="head")
    return blocks.bilinear_half_pixel(x, stride, name="logits_up")


SCENES = Augmentation(
    rotation_degrees=20,
    scale=(0.6, 1.6),
    shift=0.2,
    stretch=0.35,
    saturation=(0.0, 2.0),
    brightness=(0.6, 1.4),
    noise=12,
    paste=0.3,
    gamma=0.8,
    temperature=0.25,
    shadow=0.6,
    jpeg=(30, 95),
    motion_blur=7,
    downscale=0.35,
)
SETTLED = dataclasses.replace(SCENES, rotation_degrees=12, scale=(0.8, 1.4), shift=0.12, paste=0.2)


def _scenes(
    size: int | None, epochs: int, rate: float, final: float, warmup: int = 0, augmentation: Augmentation = SCENES
) -> Stage:
    """A stage at `size`, or at the network's own: 160 of s, 192 of m, 224 of the others."""
    stage = methods.pocket(size, epochs, rate, final, warmup)
    return dataclasses.replace(
        stage, batch_size=32, optimizer=AdamW(weight_decay=2e-2), ema=0.998, clip_norm=1.0, augmentation=augmentation
    )


RECIPES = {
    "pocket": Recipe(
        "Growing input sizes, AdamW, cosine, averaged weights, people pasted into other photos.",
        (
            _scenes(96, 30, 4e-3, 2.5e-3, warmup=1),
            _scenes(128, 40, 2.5e-3, 1e-3),
            _scenes(160, 14, 1e-3, 4e-4),
            _scenes(None, 7, 4e-4, 1e-5),
        ),
    ),
    "short": Recipe(
        "The same in half the time, for a first look.",
        (
            _scenes(96, 22, 4e-3, 2.5e-3, warmup=1),
            _scenes(128, 20, 2.5e-3, 1e-3),
            _scenes(160, 5, 1e-3, 4e-4, augmentation=SETTLED),
            _scenes(None, 4, 4e-4, 1e-6, augmentation=SETTLED),
        ),
    ),
    "few": Recipe(
        "More epochs, as they are short: for a set of some two thousand photos, from new weights.",
        (
            _scenes(96, 72, 4e-3, 2.5e-3, warmup=2),
            _scenes(128, 24, 2.5e-3, 1e-3),
            _scenes(160, 8, 1e-3, 4e-4, augmentation=SETTLED),
            _scenes(None, 8, 4e-4, 1e-6, augmentation=SETTLED),
        ),
    ),
    "pretrained": Recipe(
        "From an encoder that knows ImageNet: few epochs.",
        (
            _scenes(128, 6, 1.5e-3, 6e-4, warmup=1, augmentation=SETTLED),
            _scenes(160, 5, 6e-4, 2e-4, augmentation=SETTLED),
            _scenes(None, 4, 2e-4, 1e-6, augmentation=SETTLED),
        ),
    ),
    "pruned": Recipe(
        "From a larger network's weights, pruned: growing sizes up to its own.",
        (
            _scenes(128, 12, 2e-3, 1e-3, warmup=1, augmentation=SETTLED),
            _scenes(160, 14, 1e-3, 4e-4, augmentation=SETTLED),
            _scenes(None, 10, 4e-4, 1e-6, augmentation=SETTLED),
        ),
    ),
    "longer": Recipe(
        "Further from trained weights: the same at growing sizes, milder where people are drawn finely.",
        (
            _scenes(128, 33, 2e-3, 1.3e-3, warmup=1),
            _scenes(160, 16, 8e-4, 3e-4, augmentation=SETTLED),
            _scenes(None, 9, 3e-4, 1e-6, augmentation=SETTLED),
        ),
    ),
    "finer": Recipe(
        "Further from trained weights at the larger sizes alone, where small people are seen.",
        (
            _scenes(160, 7, 1e-3, 3e-4, warmup=1, augmentation=SETTLED),
            _scenes(None, 5, 3e-4, 1e-6, augmentation=SETTLED),
        ),
    ),
    **methods.streets((192, 256), (352, 480)),
}

_PRUNED_SMALL = Recipe(
    "From a larger network's weights, pruned to few: growing sizes up to its own.",
    (
        _scenes(128, 14, 2e-3, 1e-3, warmup=1, augmentation=SETTLED),
        _scenes(None, 26, 1e-3, 1e-6, augmentation=SETTLED),
    ),
)

_FACTS = {
    "input_size": (224, 224),
    "classes": 1,
    "multiple": 32,
    "paper": "PocketSeg",
    "status": "own",
    "recipes": RECIPES,
}


@register(parameters=521_793, macs=190_611_808, **_FACTS)
def pocketnet_plain(image, classes):
    """Layers of our own throughout: to train from nothing, or where a licence leaves no room for ImageNet's photos."""
    return pocketnet(image, classes, SHAPES["pocketnet_plain"])


@register(
    parameters=96_633,
    macs=50_195_408,
    **(_FACTS | {"input_size": (160, 160), "recipes": RECIPES | {"pruned": _PRUNED_SMALL}}),
)
def pocketnet_s(image, classes):
    """The smallest, for a watch, an old phone, or many frames a second: pocketnet_m made narrower, for 160x160."""
    return on_efficientnet(image, classes, SHAPES["pocketnet_s"])


@register(parameters=555_321, macs=123_947_264, **(_FACTS | {"input_size": (192, 192)}))
def pocketnet_m(image, classes):
    """The one to begin with: pocketnet_l made narrower, for photos of 192x192; its weights begin from that one's.

    `keras_models.prune` chooses them.
    """
    return on_efficientnet(image, classes, SHAPES["pocketnet_m"])


@register(parameters=1_330_705, macs=344_036_064, **_FACTS)
def pocketnet_l(image, classes):
    """The most accurate, and the teacher of the others: PocketNet's decoder on features that begin from ImageNet.

    Its layers take EfficientNet-Lite0's weights by `--weights`; see `networks.efficientnet`.
    """
    return on_efficientnet(image, classes, SHAPES["pocketnet_l"])
