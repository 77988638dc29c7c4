"""PortraitNet (Zhang et al., 2019): MobileNetV2 and a light decoder with a boundary head.

"PortraitNet: Real-time portrait segmentation network for mobile device", Computers & Graphics 80.
"""

import dataclasses

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods
from keras_models.training.recipes import Auxiliary, Focal, Recipe

MEAN = (123.68, 116.78, 103.94)
STD = (1 / 0.017,) * 3

# MobileNetV2: expansion factor, width, blocks, stride of the first.
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
SKIPS = {24: "stage2", 32: "stage3", 96: "stage5"}
DECODER = (96, 32, 24, 16, 8)  # widths from 1/32 upwards; the encoder's outputs of those widths are added


PAPER = Recipe(
    "The authors' two auxiliary losses: focal on the boundary head, consistency under changed colours.",
    (
        dataclasses.replace(
            methods.PORTRAITNET,
            auxiliary=Auxiliary("edge_head", 0.1, Focal(), target="boundary"),
            consistency_weight=2.0,
        ),
    ),
)


@register(
    parameters=2_080_904,
    macs=368_462_752,
    input_size=(224, 224),
    classes=2,
    multiple=32,
    paper="ExtremeC3Net",
    recipes={"paper": PAPER, "mixed": methods.mixed()},
)
def portraitnet(image, classes):
    """Two heads: the mask's logits, and the boundary's as the auxiliary output."""
    x = blocks.normalise(image, MEAN, STD)
    x = blocks.conv_bn_relu(x, 32, strides=2, name="stem")
    skips = {}
    for stage, (expansion, width, count, strides) in enumerate(MOBILENET_V2, start=1):
        for i in range(1, count + 1):
            x = blocks.inverted_residual(
                x, width, expansion * x.shape[-1], strides=strides if i == 1 else 1, name=f"stage{stage}_{i}"
            )
        skips[x.shape[1], x.shape[-1]] = x

    for i, width in enumerate(DECODER, start=1):
        x = _decoder_block(x, width, name=f"decoder{i}")
        x = blocks.deconv(x, width, 4, name=f"decoder{i}_up")
        if (x.shape[1], width) in skips:
            x = blocks.add([x, skips[x.shape[1], width]], name=f"decoder{i}_skip")
    edge = blocks.conv(x, classes, name="edge_head")
    return blocks.auxiliary(blocks.conv(x, classes, name="head"), edge)


def _decoder_block(x, filters, *, name):
    """The D-block: two separable convolutions around a projected shortcut."""
    y = x
    for i in (1, 2):
        y = blocks.depthwise_bn_relu(y, name=f"{name}_depthwise_{i}")
        y = blocks.pointwise(y, filters, name=f"{name}_pointwise_{i}")
        y = blocks.batch_norm(y, epsilon=1e-5, name=f"{name}_pointwise_{i}_bn")
        y = blocks.relu(y, name=f"{name}_pointwise_relu") if i == 1 else y
    shortcut = blocks.pointwise(x, filters, name=f"{name}_shortcut")
    shortcut = blocks.batch_norm(shortcut, epsilon=1e-5, name=f"{name}_shortcut_bn")
    return blocks.relu(blocks.add([y, shortcut], name=f"{name}_add"), name=f"{name}_relu")
