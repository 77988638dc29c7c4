"""Lightweight portrait segmentation via edge-optimized attention (Zhang et al., ICASSP 2023): the EOAM network.

The poster names its parts; widths and order are those of the authors' code (ESPS). It is a SINet of half the width with
a bias in every convolution, S2 blocks in a chain where SINet has them side by side, and an attention refinement.
"""

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods
from keras_models.training.recipes import Adam, LovaszBoundary, Recipe, Stage, StepDecay

LEVEL_2 = ((24, (3, 5)),)  # width, and kernel sizes of the two chained S2 blocks: p modules
LEVEL_3 = ((48, (3, 5)),)  # q modules


CODE = Recipe(
    "The authors' code, since the poster prints no numbers; its loss without the bug that ignores the background.",
    (
        Stage(
            epochs=500,
            batch_size=128,
            learning_rate=1.8e-3,
            optimizer=Adam(weight_decay=0.0),
            schedule=StepDecay(factor=0.96, iterations=17_400),
            loss=LovaszBoundary(),
            edge_class=5,
        ),
    ),
)


@register(
    parameters=21_895,
    macs=26_285_952,
    input_size=(224, 224),
    classes=3,
    multiple=8,
    paper="EOAM",
    status="not reproducible",
    reason="p=q=1 gives the 0.021M; 0.061G stands beside multiply-accumulates, which are 0.026G",
    recipes={"code": CODE, "mixed": methods.mixed(edge_class=5)},
)
def eoam(image, classes):
    """The poster's three classes, with the background first as everywhere here: background, portrait, edge area."""
    return network(image, classes, edge_optimized_attention)


def network(image, classes, fuse):
    """The network with `fuse(low, prediction, name=...)` where the EOAM stands."""
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    x = blocks.conv_bn_prelu(x, 12, strides=2, use_bias=True, name="level1")

    x = down = _separable_down(x, 8, name="level2_down")
    for i, (width, kernel_sizes) in enumerate(LEVEL_2, start=1):
        x = _module(x, width, kernel_sizes, name=f"level2_{i}")
    abstract = x  # the low-level feature F_a
    x = blocks.bn_prelu(blocks.concat([down, x], name="level2_concat"), name="level2")

    x = down = _separable_down(x, 24, name="level3_down")
    for i, (width, kernel_sizes) in enumerate(LEVEL_3, start=1):
        x = _module(x, width, kernel_sizes, name=f"level3_{i}")
        if i == 1:
            x = blocks.add([x, _attention_refinement(down, width, name="refine")], name="refine_add")
    x = blocks.bn_prelu(blocks.concat([down, x], name="level3_concat"), name="level3")

    x = blocks.pointwise(x, classes, use_bias=True, name="level3_classes")
    x = blocks.batch_norm(blocks.bilinear_half_pixel(x, 2, name="level3_up"), name="level3_up_bn")
    x = fuse(abstract, x, name="eoam")
    x = blocks.batch_norm(blocks.bilinear_half_pixel(x, 2, name="level2_up"), name="level2_up_bn")
    return blocks.conv(blocks.bilinear_half_pixel(x, 2, name="level1_up"), classes, use_bias=True, name="head")


def edge_optimized_attention(low, prediction, *, name):
    """The EOAM: low-level features, brought to one channel per class, supplement the `prediction` where it doubts.

    `low` (batch, height, width, any) and `prediction` (batch, height, width, classes) have the same height and width,
    so the module fits wherever another network fuses a shallow with a deep tensor (the poster's second table).
    """
    low = blocks.conv_bn_prelu(low, prediction.shape[-1], 1, use_bias=True, name=f"{name}_low")
    return blocks.attention_gate(low, prediction, name=name)


def ungated(low, prediction, *, name):
    """The EOAM without its gate, for comparison: the low-level features are added everywhere."""
    low = blocks.conv_bn_prelu(low, prediction.shape[-1], 1, use_bias=True, name=f"{name}_low")
    return blocks.add([low, prediction], name=f"{name}_add")


def _separable_down(x, filters, *, name):
    x = blocks.depthwise(x, strides=2, use_bias=True, name=f"{name}_depthwise")
    return blocks.bn_prelu(blocks.pointwise(x, filters, use_bias=True, name=f"{name}_pointwise"), name=name)


def _module(x, filters, kernel_sizes, *, name):
    """A grouped reduction, two S2 blocks one after the other, both outputs concatenated."""
    y = blocks.grouped_pointwise(x, filters // 2, 2, use_bias=True, name=f"{name}_reduce")
    outputs = []
    for i, kernel_size in enumerate(kernel_sizes, start=1):
        y = blocks.depthwise(y, kernel_size, use_bias=True, name=f"{name}_{i}_depthwise")
        y = blocks.bn_prelu(y, name=f"{name}_{i}_depthwise")
        y = blocks.pointwise(y, filters // 2, use_bias=True, name=f"{name}_{i}_pointwise")
        y = blocks.batch_norm(y, name=f"{name}_{i}_bn")
        outputs.append(y)
    y = blocks.concat(outputs, name=f"{name}_concat")
    if x.shape[-1] == filters:
        y = blocks.add([x, y], name=f"{name}_add")
    return blocks.bn_prelu(y, name=name)


def _attention_refinement(x, filters, *, name):
    """The attention side path: a sigmoid gate on every value, then a convolution to `filters`."""
    gate = blocks.conv(x, x.shape[-1], use_bias=True, name=f"{name}_gate_conv")
    gate = blocks.activation(gate, "sigmoid", name=f"{name}_gate")
    x = blocks.multiply([x, gate], name=f"{name}_scale")
    return blocks.conv(x, filters, use_bias=True, name=f"{name}_conv")
