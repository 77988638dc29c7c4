"""Improved DeepLabv3+ (Zhang et al., 2020): parsing of people into head, upper body, hands and lower body.

"Research on Semantic Segmentation of Portraits Based on Improved Deeplabv3+", IOP Conf. Ser. 806. The paper gives
neither parameters nor the atrous rates; those here are one reading of "adjust the dilation rate".
"""

from functools import partial

from keras_models import blocks
from keras_models.networks import deeplabv3plus
from keras_models.registry import register
from keras_models.training import methods

RATES = (4, 8, 12)  # smaller than DeepLabv3+'s 6, 12, 18
RATE_2X2 = 2
REDUCTION = 16  # r of squeeze-and-excitation

UNPUBLISHED = {
    "input_size": (512, 512),
    "classes": 5,
    "multiple": 16,
    "paper": "Improved DeepLabv3+",
    "status": "near",
    "reason": "no published count; the rates 4, 8, 12 and 2 (2x2 branch) are inferred from the text",
}


@register(
    parameters=43_504_901,
    macs=53_331_435_520,
    recipes=methods.DEEPLAB,
    **UNPUBLISHED,
)
def improved_deeplabv3plus(image, classes):
    """Xception-65, ASPP with a 2x2 atrous branch and smaller rates, channel attention on its output (figure 4)."""
    return deeplabv3plus.encoder_decoder(image, classes, deeplabv3plus.xception, improved_aspp)


@register(
    parameters=48_143_893,
    macs=59_229_372_416,
    recipes=methods.DEEPLAB,
    **UNPUBLISHED,
)
def improved_deeplabv3plus_resnet101(image, classes):
    """With ResNet-101 (table 2)."""
    return deeplabv3plus.encoder_decoder(image, classes, deeplabv3plus.resnet101, improved_aspp)


@register(
    parameters=41_251_317,
    macs=51_116_752_896,
    recipes=methods.DEEPLAB,
    **UNPUBLISHED,
)
def improved_deeplabv3plus_original_aspp(image, classes):
    """With DeepLabv3+'s own ASPP before the channel attention (table 3)."""
    return deeplabv3plus.encoder_decoder(image, classes, deeplabv3plus.xception, original_aspp)


@register(
    parameters=43_208_357,
    macs=53_331_140_608,
    recipes=methods.DEEPLAB,
    **UNPUBLISHED,
)
def improved_deeplabv3plus_without_se(image, classes):
    """Without the channel attention (figure 5)."""
    return deeplabv3plus.encoder_decoder(
        image, classes, deeplabv3plus.xception, partial(improved_aspp, attention=False)
    )


@register(
    parameters=3_263_549,
    macs=7_020_144_640,
    recipes=methods.DEEPLAB,
    **(
        UNPUBLISHED | {"paper": "PocketSeg", "status": "own", "reason": "the same network at a width that a CPU trains"}
    ),
)
def improved_deeplabv3plus_quarter(image, classes):
    """With an Xception a quarter as wide and of 4 middle blocks, not 16."""
    return deeplabv3plus.encoder_decoder(
        image, classes, partial(deeplabv3plus.xception, width=0.25, middle=4), improved_aspp
    )


def improved_aspp(x, attention=True):
    """ASPP of smaller rates with a 2x2 atrous branch; `attention`: on the channels of its output."""
    small = blocks.conv_bn_relu(x, 256, 2, dilation=RATE_2X2, name="aspp_2x2")
    return _merge([*deeplabv3plus.aspp_branches(x, RATES), small], attention)


def original_aspp(x):
    """DeepLabv3+'s ASPP, then the channel attention."""
    return _merge(deeplabv3plus.aspp_branches(x, deeplabv3plus.RATES), attention=True)


def _merge(branches, attention):
    x = blocks.concat(branches, name="aspp_concat")
    if attention:
        x = blocks.squeeze_excite(x, x.shape[-1] // REDUCTION, name="aspp_se")
    return blocks.conv_bn_relu(x, 256, 1, name="aspp")
