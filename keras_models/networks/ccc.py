"""Concentrated-comprehensive convolutions (Park et al., 2018): the C3 networks for Cityscapes.

"Concentrated-Comprehensive Convolutions for lightweight semantic segmentation", arXiv:1812.04920. The block itself is
`blocks.c3`, its parallel module `blocks.c3_module`; the networks have ESPNet's skeleton.
"""

import dataclasses
from functools import partial

from keras_models import blocks
from keras_models.networks import espnet
from keras_models.pytorch import Published, bn_prelu, c3_module
from keras_models.registry import register
from keras_models.training import methods
from keras_models.training.recipes import Recipe

DILATIONS_1 = (2, 4, 8, 16)
DILATIONS_2 = (2, 3, 7, 13)  # coprime

CITYSCAPES = {"input_size": (512, 1024), "classes": 20, "multiple": 8, "paper": "C3", "void": True}


FIRST_STAGE = {
    "code": Recipe("The first stage of the authors' code.", (dataclasses.replace(methods.C3_CODE, batch_size=24),))
}


def _recipes(encoder):
    stages = methods.after(encoder, methods.C3_CODE, batch_size=24)
    code = {"code": Recipe("The authors' code: the encoder, then the whole network.", stages)}
    return methods.AS_C3 | code | methods.STREETS


def _published_ccc2() -> Published:
    table = espnet.published_encoder(DILATIONS_2)
    table |= {"br": "level3_classes_bn", "up_l3.0": "level3_up", "level3_C.conv": "level2_classes"}
    table |= bn_prelu("combine_l2_l3.0", "level2_fuse")
    table |= c3_module("combine_l2_l3.1", "level2_decode", DILATIONS_2, "combine_l2_l3.1.bn")
    table |= {"up_l2.0": "level2_up_deconv", **bn_prelu("up_l2.1", "level2_up")}
    table |= {"conv.conv": "level1_decode_conv", **bn_prelu("conv", "level1_decode"), "classifier": "head"}
    decoder = {"level2_classes": (128, 1.0), "level1_decode_conv": (20 + 16, 1.0)}
    return Published(table, espnet.published_image(16) | decoder)


def _published_c3netv2() -> Published:
    table = espnet.published_encoder(DILATIONS_1) | {"bn": "level3_classes_bn", "classifier.1.conv": "head"}
    for level in (1, 2):
        theirs, ours = f"conv_l{level}", f"level{level}_fuse"
        table |= {f"{theirs}.conv.0": f"{ours}_depthwise", f"{theirs}.conv.1": f"{ours}_pointwise"}
        table |= bn_prelu(theirs, ours)
    return Published(table, espnet.published_image(20))


@register(
    parameters=198_434,
    macs=3_132_751_872,
    recipes=_recipes("ccc1_encoder"),
    **CITYSCAPES,
)
def ccc1(image, classes):
    """C3Net with dilations 2, 4, 8, 16; also row 7 of table 3."""
    return _network(image, classes, DILATIONS_1)


@register(
    parameters=191_614,
    macs=3_050_831_872,
    recipes=_recipes("ccc2_encoder"),
    published=_published_ccc2,
    **CITYSCAPES,
)
def ccc2(image, classes):
    """C3Net with dilations 2, 3, 7, 13: the network of the published weights."""
    return _network(image, classes, DILATIONS_2)


@register(
    parameters=182_514,
    macs=1_817_444_352,
    reason="a training stage",
    recipes=FIRST_STAGE,
    **CITYSCAPES,
)
def ccc1_encoder(image, classes):
    """The network of CCC1's first training stage; logits at an eighth of the resolution."""
    return _encoder(image, classes, DILATIONS_1)


@register(
    parameters=175_794,
    macs=1_738_801_152,
    reason="a training stage",
    recipes=FIRST_STAGE,
    **CITYSCAPES,
)
def ccc2_encoder(image, classes):
    """The network of CCC2's first training stage; logits at an eighth of the resolution."""
    return _encoder(image, classes, DILATIONS_2)


@register(
    parameters=187_378,
    macs=2_292_056_064,
    status="not reproducible",
    reason="the authors' page says 0.18M and 2.66G; their code and weights have 187,378 and 2.29G",
    recipes={"code": Recipe("The second stage of the authors' code.", (methods.C3_CODE,))},
    published=_published_c3netv2,
    **(CITYSCAPES | {"paper": "Authors' code"}),
)
def c3netv2(image, classes):
    """C3NetV2 of the authors' code: 20 channels at level 1, a decoder of separable convolutions and upsampling."""
    x = blocks.normalise(image, blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)
    module = partial(blocks.c3_module, dilations=DILATIONS_1)
    half = blocks.average_pool(x, name="image_half")
    quarter = blocks.average_pool(blocks.average_pool(x, name="image_half_again"), name="image_quarter")

    level1 = blocks.conv_bn_prelu(x, 20, strides=2, name="level1")
    x = blocks.bn_prelu(blocks.concat([level1, half], name="level1_image_concat"), name="level1_image")

    x = down = module(x, 64, strides=2, name="level2_down")
    for i in (1, 2):
        x = module(x, 64, residual=True, name=f"level2_{i}")
    level2 = x
    x = blocks.bn_prelu(blocks.concat([x, down, quarter], name="level2_image_concat"), name="level2_image")

    x = down = module(x, 128, strides=2, name="level3_down")
    for i in range(1, 9):
        x = module(x, 128, residual=True, name=f"level3_{i}")
    x = blocks.bn_prelu(blocks.concat([down, x], name="level3_concat"), name="level3")

    x = blocks.pointwise(x, classes, name="level3_classes")
    x = blocks.bilinear(blocks.batch_norm(x, name="level3_classes_bn"), 2, name="level3_up")
    x = blocks.concat([x, level2], name="level2_fuse_concat")
    x = blocks.bn_prelu(blocks.separable(x, classes, name="level2_fuse"), name="level2_fuse")
    x = blocks.bilinear(x, 2, name="level2_up")
    x = blocks.concat([x, level1], name="level1_fuse_concat")
    x = blocks.bn_prelu(blocks.separable(x, classes, name="level1_fuse"), name="level1_fuse")
    return blocks.pointwise(blocks.bilinear(x, 2, name="level1_up"), classes, name="head")


@register(
    parameters=215_293,
    macs=3_302_678_528,
    status="near",
    reason="0.215M and 6.77G against 0.21M and 6.75G; one concentration BN fewer would give 6.749G",
    recipes=methods.AS_C3,
    **CITYSCAPES,
)
def ccc_espnet(image, classes):
    """ESPNet as it is, HFF included, with a CCC block for each convolution whose dilation is above 1."""
    x = blocks.normalise(image, blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)
    return espnet.encoder_decoder(x, classes, partial(espnet.esp_module, convolution=_c3_where_dilated))


@register(
    parameters=153_422,
    macs=2_673_999_872,
    status="near",
    reason="published 0.152M and 5.44G; the 1.4K and 14M between are unexplained",
    recipes=methods.AS_C3,
    **CITYSCAPES,
)
def ccc_structure_a(image, classes):
    """CCC1 without the concentration stage (table 3, row 3)."""
    return _network(image, classes, DILATIONS_1, "A")


@register(
    parameters=188_238,
    macs=3_075_604_480,
    status="near",
    reason="p=4, q=11 inferred: 0.188M and 6.28G against 0.187M and 6.26G, the same offset as without the layers",
    recipes=methods.AS_C3,
    **CITYSCAPES,
)
def ccc_structure_a_deep(image, classes):
    """CCC1 without the concentration stage and with more layers instead (table 3, row 4)."""
    return _network(image, classes, DILATIONS_1, "A", p=4, q=11)


@register(
    parameters=580_354,
    macs=7_769_423_872,
    recipes=methods.AS_C3,
    **CITYSCAPES,
)
def ccc_structure_b(image, classes):
    """CCC1 with one depthwise convolution as the concentration stage (table 3, row 5)."""
    return _network(image, classes, DILATIONS_1, "B")


@register(
    parameters=194_342,
    macs=3_132_751_872,
    recipes=methods.AS_C3,
    **CITYSCAPES,
)
def ccc_structure_c_linear(image, classes):
    """CCC1 without BN and PReLU between the asymmetric convolutions, dw-Asym (table 3, row 6)."""
    return _network(image, classes, DILATIONS_1, "C-")


def _c3_where_dilated(x, filters, dilation, *, name):
    if dilation == 1:
        return blocks.conv(x, filters, name=name)
    return blocks.c3(x, filters, dilation, name=name)


def _network(image, classes, dilations, structure="C", **options):
    x = blocks.normalise(image, blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)
    module = partial(blocks.c3_module, dilations=dilations, structure=structure)
    return espnet.encoder_decoder(x, classes, module, pool=blocks.average_pool, **options)


def _encoder(image, classes, dilations):
    x = blocks.normalise(image, blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)
    module = partial(blocks.c3_module, dilations=dilations)
    _, _, level3 = espnet.encoder(x, module, pool=blocks.average_pool)
    return blocks.pointwise(level3, classes, name="level3_classes")
