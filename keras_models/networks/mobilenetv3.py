"""MobileNetV3-Small with the LR-ASPP head (Howard et al., 2019): the MobileNetV3 of the portrait comparison.

"Searching for MobileNetV3", arXiv:1905.02244: table 2, section 6.4.
"""

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

# Table 2: kernel, expansion, width, squeeze-and-excitation, activation, stride, dilation. For segmentation the last
# block's channels are halved (RF2) and its stride is a dilation, so that the output is at 1/16.
BNECK = (
    (3, 16, 16, True, "relu", 2, 1),
    (3, 72, 24, False, "relu", 2, 1),
    (3, 88, 24, False, "relu", 1, 1),
    (5, 96, 40, True, "hard_silu", 2, 1),
    (5, 240, 40, True, "hard_silu", 1, 1),
    (5, 240, 40, True, "hard_silu", 1, 1),
    (5, 120, 48, True, "hard_silu", 1, 1),
    (5, 144, 48, True, "hard_silu", 1, 1),
    (5, 288, 48, True, "hard_silu", 1, 2),
    (5, 288, 48, True, "hard_silu", 1, 2),
    (5, 288, 48, True, "hard_silu", 1, 2),
)
LAST = 144  # with 19 classes this gives the 0.47M of MobileNetV3's table 7
FILTERS = 128  # of LR-ASPP


@register(
    parameters=469_220,
    macs=64_198_048,
    input_size=(224, 224),
    classes=2,
    multiple=16,
    paper="EOAM",
    status="near",
    reason="0.469M and 0.064G against 0.458M and 0.066G; neither paper nor code of that comparison was published",
    recipes=methods.IN_COMPARISON,
)
def mobilenetv3(image, classes):
    """LR-ASPP gates the last features with their mean and adds class scores of those at 1/8."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    x = blocks.conv(x, 16, strides=2, name="stem")
    x = blocks.activation(blocks.batch_norm(x, name="stem_bn"), "hard_silu", name="stem_act")
    for i, (kernel_size, expansion, width, squeeze, function, strides, dilation) in enumerate(BNECK, start=1):
        if i == 4:
            low = x
        x = blocks.inverted_residual(
            x,
            width,
            expansion,
            kernel_size,
            strides=strides,
            dilation=dilation,
            squeeze=_divisible(expansion // 4) if squeeze else 0,
            function=function,
            epsilon=1e-3,
            name=f"bneck{i}",
        )
    x = blocks.batch_norm(blocks.pointwise(x, LAST, name="last"), name="last_bn")
    x = blocks.activation(x, "hard_silu", name="last_act")

    gate = blocks.pointwise(blocks.global_pool(x, name="aspp_pool"), FILTERS, name="aspp_gate_conv")
    gate = blocks.activation(gate, "sigmoid", name="aspp_gate")
    x = blocks.multiply([blocks.conv_bn_relu(x, FILTERS, 1, name="aspp"), gate], name="aspp_scale")
    x = blocks.bilinear_half_pixel(x, 2, name="aspp_up")
    x = blocks.pointwise(x, classes, use_bias=True, name="head")
    x = blocks.add([x, blocks.pointwise(low, classes, use_bias=True, name="head_low")], name="head_add")
    return blocks.bilinear_half_pixel(x, 8, name="logits_up")


def _divisible(channels: int) -> int:
    """The multiple of 8 that is nearest to `channels`, but not less than 90% of it."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
