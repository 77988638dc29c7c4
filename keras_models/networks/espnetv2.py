"""ESPNetv2 (Mehta et al., 2018): depthwise dilated convolutions in a pyramid.

"ESPNetv2: A Light-weight, Power Efficient, and General Purpose Convolutional Neural Network", arXiv:1811.11431, with
the segmentation head of the authors' code.
"""

from keras import layers

from keras_models import blocks
from keras_models.layers import Idle
from keras_models.registry import register
from keras_models.training import methods

GROUPS = 4  # K: parallel branches of an EESP unit, and groups of its pointwise convolutions
LEVEL_1 = 32
WIDTHS = (64, 128, 256)  # of levels 2 to 4, times the network's scale
WIDE, NARROW = (1, 2, 3, 4), (1, 1, 2, 3)  # dilations for a receptive field of 9 and more, and of 7
EESP_UNITS = (0, 3, 7)  # after the downsampling of levels 2 to 4

REASON = "the comparison's head was not published; this is the authors', on an encoder of {} ({} published in all)"
PORTRAIT = {
    "input_size": (224, 224),
    "classes": 2,
    "multiple": 16,
    "paper": "ExtremeC3Net",
    "status": "not reproducible",
}


@register(
    parameters=1_244_650,
    macs=518_471_764,
    reason=REASON.format("745,686", "778K"),
    recipes=methods.IN_COMPARISON,
    **PORTRAIT,
)
def espnetv2(image, classes):
    """Scale 2.0."""
    return _network(image, classes, 2)


@register(
    parameters=718_506,
    macs=300_116_244,
    reason=REASON.format("434,886", "458K"),
    recipes=methods.IN_COMPARISON,
    **PORTRAIT,
)
def espnetv2_15(image, classes):
    """Scale 1.5."""
    return _network(image, classes, 1.5)


def _network(image, classes, scale):
    image = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    x = level1 = _conv_bn_prelu(image, LEVEL_1, 3, strides=2, name="level1")
    levels = []
    for level, (width, units) in enumerate(zip(WIDTHS, EESP_UNITS, strict=True), start=2):
        width = round(width * scale)
        x = _downsample(x, image, width, name=f"level{level}_down")
        for i in range(1, units + 1):
            x = _eesp(x, width, WIDE if level == 3 else NARROW, name=f"level{level}_{i}")
        levels.append(x)
    level2, level3, level4 = levels

    width = level3.shape[-1]
    x = blocks.bilinear(_conv_bn_prelu(level4, width, 1, name="level4_reduce"), 2, name="level4_up")
    x = _eesp(blocks.concat([level3, x], name="level3_concat"), width, NARROW, name="level3_fuse")
    x = layers.Dropout(0.2, name="level3_dropout")(_pyramid(x, name="pyramid"))
    x = blocks.pointwise(x, classes, name="level3_classes")
    x = blocks.bilinear(blocks.bn_prelu(x, epsilon=1e-5, name="level3_classes"), 2, name="level3_up")
    x = blocks.concat([level2, x], name="level2_concat")
    x = blocks.bilinear(_conv_bn_prelu(x, classes, 1, name="level2_classes"), 2, name="level2_up")
    x = layers.Dropout(0.2, name="dropout")(blocks.concat([level1, x], name="level1_concat"))
    return blocks.bilinear(blocks.pointwise(x, classes, name="head"), 2, name="logits_up")


def _conv_bn_prelu(x, filters, kernel_size, *, strides=1, name):
    x = blocks.conv(x, filters, kernel_size, strides=strides, name=f"{name}_conv")
    return blocks.bn_prelu(x, epsilon=1e-5, name=name)


def _eesp(x, filters, dilations, *, strides=1, name):
    """The EESP unit (figure 1): reduce in groups, split into dilated depthwise branches, fuse, expand in groups.

    A strided unit, which `_downsample` completes, has no residual and does not use its PReLU; the count has it.
    """
    y = blocks.grouped_pointwise(x, filters // GROUPS, GROUPS, name=f"{name}_reduce")
    reduced = blocks.bn_prelu(y, epsilon=1e-5, name=f"{name}_reduce")
    fused = []
    for i, dilation in enumerate(dilations, start=1):
        y = blocks.depthwise(reduced, strides=strides, dilation=dilation, name=f"{name}_branch{i}")
        fused.append(blocks.add([fused[-1], y], name=f"{name}_fuse{i}") if fused else y)
    y = blocks.bn_prelu(blocks.concat(fused, name=f"{name}_concat"), epsilon=1e-5, name=f"{name}_concat")
    y = blocks.grouped_pointwise(y, filters, GROUPS, name=f"{name}_expand")
    y = blocks.batch_norm(y, epsilon=1e-5, name=f"{name}_expand_bn")
    if strides > 1:
        return Idle(((filters,),), name=f"{name}_unused_prelu")(y)
    if x.shape[-1] == filters:
        y = blocks.add([x, y], name=f"{name}_add")
    return blocks.prelu(y, name=f"{name}_prelu")


def _downsample(x, image, filters, *, name):
    """Strided EESP beside average pooling, reinforced with the image at that size (figure 2)."""
    pooled = blocks.average_pool3(x, name=f"{name}_pool")
    y = _eesp(x, filters - x.shape[-1], WIDE, strides=2, name=f"{name}_eesp")
    y = blocks.concat([pooled, y], name=f"{name}_concat")

    steps = 0
    while image.shape[1] > y.shape[1]:
        steps += 1
        image = blocks.average_pool3(image, name=f"{name}_image{steps}")
    image = _conv_bn_prelu(image, 3, 3, name=f"{name}_image")
    image = blocks.pointwise(image, filters, name=f"{name}_image_expand")
    image = blocks.batch_norm(image, epsilon=1e-5, name=f"{name}_image_expand_bn")
    return blocks.prelu(blocks.add([y, image], name=f"{name}_add"), name=f"{name}_prelu")


def _pyramid(x, *, name):
    """Pyramid pooling: four times pooled in turn, convolved, brought back to the size of `x`."""
    size, pooled, outputs = x.shape[1:3], x, [x]
    for i in range(1, 5):
        pooled = blocks.average_pool3(pooled, name=f"{name}_pool{i}")
        y = blocks.depthwise(pooled, name=f"{name}_depthwise{i}")
        outputs.append(blocks.bilinear_to(y, size, name=f"{name}_up{i}"))
    return _conv_bn_prelu(blocks.concat(outputs, name=f"{name}_concat"), x.shape[-1], 1, name=name)
