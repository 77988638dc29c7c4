"""Dilated residual networks (Yu et al., 2017) and CCC-DRN: the C3 paper's replacement of their dilated convolutions.

"Dilated Residual Networks", arXiv:1705.09914, as ImageNet classifiers (C3 paper, table 4) and as segmenters (table 2).
CCC-DRN has a CCC block for every 3x3 convolution whose dilation is above 1.
"""

from keras import layers

from keras_models import blocks
from keras_models.layers import BilinearDeconvolution
from keras_models.networks.resnet import RESNET_34, RESNET_50, basic, bottleneck, resnet
from keras_models.registry import register
from keras_models.training import methods

# DRN-C: width, strides, dilation and residual of the levels 1 to 8 (figure 3 c), and the blocks in each.
LEVELS_C = (
    (16, 1, 1, True),
    (32, 2, 1, True),
    (64, 2, 1, True),
    (128, 2, 1, True),
    (256, 1, 2, True),
    (512, 1, 4, True),
    (512, 1, 2, False),
    (512, 1, 1, False),
)
C_26 = (1, 1, 2, 2, 2, 2, 1, 1)
C_28 = (1, 1, 2, 2, 2, 2, 2, 2)  # the C3 paper's C-28*: one more block in levels 7 and 8
C_42 = (1, 1, 3, 4, 6, 3, 1, 1)
C_44 = (1, 1, 3, 4, 6, 3, 2, 2)  # C-44*


def _ccc(x, filters, *, strides=1, dilation=1, name):
    """`blocks.conv`, or the CCC block in its place where it is dilated."""
    if dilation == 1:
        return blocks.conv(x, filters, strides=strides, name=name)
    return blocks.c3(x, filters, dilation, name=name)


def _drn_a(x, counts, block, convolution):
    """DRN-A: a ResNet whose last two stages are dilated instead of strided."""
    *_, x = resnet(x, counts, block, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), convolution=convolution)
    return x


def _drn_c(x, counts, convolution):
    """DRN-C: no max pooling, and two levels without residuals at the end against the grid that dilation leaves."""
    x = blocks.conv_bn_relu(x, 16, 7, name="level0")
    for level, (count, (width, strides, dilation, residual)) in enumerate(zip(counts, LEVELS_C, strict=True), 1):
        for i in range(1, count + 1):
            x = basic(
                x,
                width,
                strides=strides if i == 1 else 1,
                dilation=dilation,
                residual=residual,
                convolution=convolution,
                name=f"level{level}_{i}",
            )
    return x


# The name of each network, and what makes its features at 1/8 of the resolution.
FEATURES = {
    "drn_a_34": lambda x: _drn_a(x, RESNET_34, basic, blocks.conv),
    "drn_a_50": lambda x: _drn_a(x, RESNET_50, bottleneck, blocks.conv),
    "drn_c_26": lambda x: _drn_c(x, C_26, blocks.conv),
    "drn_c_42": lambda x: _drn_c(x, C_42, blocks.conv),
    "ccc_drn_a_50": lambda x: _drn_a(x, RESNET_50, bottleneck, _ccc),
    "ccc_drn_c_26": lambda x: _drn_c(x, C_26, _ccc),
    "ccc_drn_c_28": lambda x: _drn_c(x, C_28, _ccc),
    "ccc_drn_c_42": lambda x: _drn_c(x, C_42, _ccc),
    "ccc_drn_c_44": lambda x: _drn_c(x, C_44, _ccc),
}

# Parameters and multiply-accumulates as an ImageNet classifier (224x224) and as a segmenter (512x1024, 19 classes).
COUNTS = {
    "drn_a_34": ((21_797_672, 17_305_210_880), (21_294_419, 180_935_983_104)),
    "drn_a_50": ((25_557_032, 19_079_364_608), (23_546_963, 199_697_104_896)),
    "drn_c_26": ((21_126_584, 16_971_239_424), (20_623_331, 177_446_322_176)),
    "drn_c_42": ((31_234_744, 25_063_624_704), (30_731_491, 262_003_490_816)),
    "ccc_drn_a_50": ((18_795_560, 13_769_338_880), (16_785_491, 144_212_754_432)),
    "ccc_drn_c_26": ((7_845_816, 6_544_566_272), (7_342_563, 68_498_227_200)),
    "ccc_drn_c_28": ((13_113_272, 10_667_026_432), (12_610_019, 111_573_729_280)),
    "ccc_drn_c_42": ((9_635_000, 8_102_832_128), (9_131_747, 84_780_515_328)),
    "ccc_drn_c_44": ((14_902_456, 12_225_292_288), (14_399_203, 127_856_017_408)),
}


def _segmenter(name):
    def build(image, classes):
        x = FEATURES[name](blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD))
        x = blocks.pointwise(x, classes, use_bias=True, name="head")
        return BilinearDeconvolution(8, name="logits_up")(x)

    build.__name__ = name
    return build


def _classifier(name):
    def build(image, classes):
        x = FEATURES[name](blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD))
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        return layers.Dense(classes, name="head")(x)

    build.__name__ = f"{name}_imagenet"
    return build


PUBLISHED_SEGMENTERS = ("drn_a_50", "drn_c_26", "ccc_drn_a_50", "ccc_drn_c_26")

for _name, (_imagenet, _cityscapes) in COUNTS.items():
    register(
        parameters=_imagenet[0],
        macs=_imagenet[1],
        input_size=(224, 224),
        classes=1000,
        multiple=8,
        paper="C3",
        task="classification",
        recipes=methods.IMAGENET,
    )(_classifier(_name))
    register(
        parameters=_cityscapes[0],
        macs=_cityscapes[1],
        input_size=(512, 1024),
        classes=19,
        multiple=8,
        paper="C3",
        status="exact" if _name in PUBLISHED_SEGMENTERS else "near",
        reason="" if _name in PUBLISHED_SEGMENTERS else "no published figures as a segmenter; its classifier is exact",
        recipes=methods.DRN,
    )(_segmenter(_name))
