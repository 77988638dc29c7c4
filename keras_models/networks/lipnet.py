"""LIP-Net (Ilyas and Kim, ICROS 2020): real-time parsing of a person's body parts.

"LIP Net: Real-Time Semantic Segmentation of Person Body Parts". The paper gives the stages, their dilations, the ratios
and the number of parameters; the widths within a block are the reading that has that number.
"""

from keras import layers

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

WIDTHS = (16, 32, 64, 128, 256, 512)  # of the stages S1 to S6, from C = 16
DILATIONS = (1, 1, 2, 4, 8, 1)
POOLED = 4  # stages S1 to S4 are followed by max pooling
REDUCTION = 8  # r of squeeze-and-excitation
RATES = (6, 12, 18)
DROPOUT = 0.25


@register(
    parameters=3_969_560,
    macs=14_620_338_816,
    input_size=(512, 512),
    classes=20,
    multiple=16,
    paper="LIP-Net",
    status="near",
    reason="3.97M as published, but only the total is pinned: the widths within the blocks are inferred",
    recipes=methods.LIPNET,
)
def lipnet(image, classes):
    """Six stages of two SE-ResNet blocks, ASPP, and a decoder with stage 3's features (figure 1).

    The text upsamples ASPP's output by 2; stage 3 before its pooling is at 1/4, so 4 is the factor that fits.
    """
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    x = blocks.conv_bn_relu(x, WIDTHS[0], 7, name="stem")
    for stage, (width, dilation) in enumerate(zip(WIDTHS, DILATIONS, strict=True), start=1):
        for i in (1, 2):
            x = _ser(x, width, dilation, name=f"s{stage}_{i}")
        if stage == 3:
            s3 = x
        if stage <= POOLED:
            x = blocks.max_pool(x, name=f"s{stage}_pool")

    x = blocks.bilinear_half_pixel(_aspp(x, WIDTHS[-1]), 4, name="aspp_up")
    low = blocks.conv_bn_relu(s3, WIDTHS[2] // 4, 1, name="low")
    x = blocks.conv_bn_relu(blocks.concat([x, low], name="decoder_concat"), 128, name="decoder")
    x = blocks.bilinear_half_pixel(x, 4, name="decoder_up")
    x = layers.Dropout(DROPOUT, name="dropout")(x)
    return blocks.pointwise(x, classes, use_bias=True, name="head")


def _ser(x, filters, dilation, *, name):
    """SE-ResNet bottleneck whose 3x3 convolution is dilated and separable."""
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = blocks.pointwise(x, filters, name=f"{name}_shortcut")
        shortcut = blocks.batch_norm(shortcut, epsilon=1e-5, name=f"{name}_shortcut_bn")
    y = blocks.conv_bn_relu(x, filters // 4, 1, name=f"{name}_reduce")
    y = blocks.separable(y, filters // 4, dilation=dilation, name=f"{name}_separable")
    y = blocks.bn_relu(y, name=f"{name}_separable")
    y = blocks.pointwise(y, filters, name=f"{name}_expand")
    y = blocks.batch_norm(y, epsilon=1e-5, name=f"{name}_expand_bn")
    y = blocks.squeeze_excite(y, filters // REDUCTION, name=f"{name}_se")
    return blocks.relu(blocks.add([y, shortcut], name=f"{name}_add"), name=f"{name}_relu")


def _aspp(x, filters):
    """Atrous spatial pyramid pooling: a pointwise and three separable branches, and the image's mean."""
    mean = blocks.conv_bn_relu(blocks.global_pool(x, name="aspp_pool"), filters, 1, name="aspp_mean")
    branches = [
        blocks.bilinear_to(mean, x.shape[1:3], name="aspp_mean_up"),
        blocks.conv_bn_relu(x, filters, 1, name="aspp_1"),
    ]
    for rate in RATES:
        y = blocks.separable(x, filters, dilation=rate, name=f"aspp_{rate}")
        branches.append(blocks.bn_relu(y, name=f"aspp_{rate}"))
    return blocks.conv_bn_relu(blocks.concat(branches, name="aspp_concat"), filters, 1, name="aspp")
