"""ESPNet (Mehta et al., 2018), and its depthwise-separable versions that the C3 and ExtremeC3Net papers compare with.

"ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic Segmentation", arXiv:1803.06815.
"""

from functools import partial

from keras_models import blocks
from keras_models.pytorch import bn_prelu, c3_module
from keras_models.registry import register
from keras_models.training import methods

DILATIONS = (1, 2, 4, 8, 16)  # the branches of an ESP module
WIDTHS = (16, 64, 128)  # of the three levels
P, Q = 2, 8  # ESP modules in levels 2 and 3

PORTRAIT = {"input_size": (224, 224), "classes": 1, "multiple": 8, "paper": "ExtremeC3Net"}
CITYSCAPES = {"input_size": (512, 1024), "classes": 20, "multiple": 8, "paper": "C3", "void": True}


def published_encoder(dilations: tuple[int, ...]) -> dict[str, str]:
    """The encoder of the C3 networks for Cityscapes, and its classes."""
    table = {"encoder.level1.conv": "level1_conv", **bn_prelu("encoder.level1", "level1")}
    for number, name in (("1", "level1_image"), ("2", "level2_image"), ("3", "level3")):
        table |= bn_prelu(f"encoder.b{number}", name)
    for level, modules in ((2, P), (3, Q)):
        down = f"encoder.level{level}_0"
        table |= c3_module(down, f"level{level}_down", dilations, down)
        for i in range(modules):
            theirs = f"encoder.level{level}.{i}"
            table |= c3_module(theirs, f"level{level}_{i + 1}", dilations, f"{theirs}.bn")
    return table | {"encoder.classifier.conv": "level3_classes"}


def published_image(level1: int) -> dict[str, tuple[int, float]]:
    """Where the image is in the encoder with `level1` channels at the first level."""
    return {
        "level1_conv": (0, 255.0),
        "level1_image_bn": (level1, 255.0),
        "level1_image_prelu": (level1, 1.0),
        "level2_down_reduce": (level1, 1.0),
        "level2_image_bn": (128, 255.0),
        "level2_image_prelu": (128, 1.0),
        "level3_down_reduce": (128, 1.0),
    }


@register(
    parameters=365_109,
    macs=4_780_220_416,
    status="near",
    reason="0.364M is ESPNet's own figure; 20 classes, which the published FLOPs need, give 0.365M",
    recipes=methods.AS_C3 | methods.STREETS,
    **CITYSCAPES,
)
def espnet(image, classes):
    """Encoder and decoder; alpha is p=2, q=8."""
    x = blocks.normalise(image, blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)
    return encoder_decoder(x, classes, esp_module)


@register(
    parameters=203_189,
    macs=3_469_500_416,
    status="near",
    reason="0.202M has 19 classes (201,542); the published FLOPs have 20 and leave the deconvolutions out",
    recipes=methods.AS_C3 | methods.STREETS,
    **CITYSCAPES,
)
def espnet_tiny(image, classes):
    """ESPNet with q=3."""
    x = blocks.normalise(image, blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)
    return encoder_decoder(x, classes, esp_module, q=3)


@register(
    parameters=344_585,
    macs=328_291_376,
    recipes=methods.IN_COMPARISON,
    **PORTRAIT,
)
def espnet_c(image, classes):
    """ESPNet-C, the encoder alone: the ESPNet of the portrait comparison. Its decoder needs five classes or more."""
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    return _encoder_logits(x, classes, esp_module)


@register(
    parameters=127_562,
    macs=2_409_758_720,
    recipes=methods.AS_C3 | methods.STREETS,
    **CITYSCAPES,
)
def ds_espnet_decoder(image, classes):
    """Every dilated convolution made depthwise separable (C3 paper, table 3, row 2)."""
    x = blocks.normalise(image, blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)
    return encoder_decoder(x, classes, partial(esp_module, convolution=_separable))


@register(
    parameters=107_498,
    macs=102_873_344,
    status="not reproducible",
    reason="published 143K; all five branches separable give 107K, the first one dense 160K",
    recipes=methods.IN_COMPARISON,
    **PORTRAIT,
)
def ds_espnet(image, classes):
    """ESPNet-C with every dilated convolution made depthwise separable."""
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    return _encoder_logits(x, classes, partial(esp_module, convolution=_separable))


@register(
    parameters=30_518,
    macs=29_942_528,
    status="not reproducible",
    reason="published 63.9K and 0.139G, 70% of the full width's; halving every width gives 30.5K and 0.030G",
    recipes=methods.IN_COMPARISON,
    **PORTRAIT,
)
def ds_espnet_half(image, classes):
    """DS-ESPNet with half the channels in every level."""
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    return _encoder_logits(
        x, classes, partial(esp_module, convolution=_separable), widths=tuple(width // 2 for width in WIDTHS)
    )


def _dense(x, filters, dilation, *, name):
    return blocks.conv(x, filters, dilation=dilation, name=name)


def _separable(x, filters, dilation, *, name):
    return blocks.separable(x, filters, dilation=dilation, name=name)


def esp_module(x, filters, *, strides=1, residual=False, convolution=_dense, name):
    """Reduce, split into dilated convolutions, transform, merge (section 3.1, figure 1).

    Hierarchical feature fusion adds each branch to the sum of those with a smaller dilation, the one of dilation 1
    excepted. `convolution` is a function like `blocks.c3`.
    """
    dilations = DILATIONS[:filters]
    width = filters // len(dilations)
    reduced = blocks.conv(x, width, 3 if strides == 2 else 1, strides=strides, name=f"{name}_reduce")
    first, *branches = (
        convolution(reduced, width if branch > 1 else filters - width * (len(dilations) - 1), d, name=f"{name}_d{d}")
        for branch, d in enumerate(dilations, start=1)
    )
    fused = branches[:1]
    for branch, dilation in zip(branches[1:], dilations[2:], strict=True):
        fused.append(blocks.add([fused[-1], branch], name=f"{name}_fuse_d{dilation}"))
    y = blocks.concat([first, *fused], name=f"{name}_concat") if fused else first
    if residual:
        y = blocks.add([y, x], name=f"{name}_add")
    return blocks.bn_prelu(y, name=name)


def encoder(image, module, *, p=P, q=Q, widths=WIDTHS, pool=blocks.average_pool3):
    """The three levels' outputs, at 1/2, 1/4 and 1/8; the image, made smaller by `pool`, joins the first two."""
    half = pool(image, name="image_half")
    # Halved a second time from the start, as the authors' code does and counts.
    quarter = pool(pool(image, name="image_half_again"), name="image_quarter")

    x = blocks.conv_bn_prelu(image, widths[0], strides=2, name="level1")
    level1 = blocks.bn_prelu(blocks.concat([x, half], name="level1_image_concat"), name="level1_image")

    x = down = module(level1, widths[1], strides=2, name="level2_down")
    for i in range(1, p + 1):
        x = module(x, widths[1], residual=True, name=f"level2_{i}")
    level2 = blocks.bn_prelu(blocks.concat([x, down, quarter], name="level2_image_concat"), name="level2_image")

    x = down = module(level2, widths[2], strides=2, name="level3_down")
    for i in range(1, q + 1):
        x = module(x, widths[2], residual=True, name=f"level3_{i}")
    level3 = blocks.bn_prelu(blocks.concat([down, x], name="level3_concat"), name="level3")
    return level1, level2, level3


def encoder_decoder(image, classes, module, **options):
    """ESPNet's light decoder: two levels of the encoder come back at their resolution (section 3.3, figure 4)."""
    level1, level2, level3 = encoder(image, module, **options)
    x = blocks.pointwise(level3, classes, name="level3_classes")
    x = blocks.deconv(blocks.batch_norm(x, name="level3_classes_bn"), classes, name="level3_up")

    detail = blocks.pointwise(level2, classes, name="level2_classes")
    x = blocks.bn_prelu(blocks.concat([detail, x], name="level2_fuse_concat"), name="level2_fuse")
    x = module(x, classes, name="level2_decode")
    x = blocks.bn_prelu(blocks.deconv(x, classes, name="level2_up_deconv"), name="level2_up")

    x = blocks.conv_bn_prelu(blocks.concat([x, level1], name="level1_fuse_concat"), classes, name="level1_decode")
    return blocks.deconv(x, classes, name="head")


def _encoder_logits(image, classes, module, **options):
    _, _, level3 = encoder(image, module, **options)
    x = blocks.pointwise(level3, classes, name="level3_classes")
    return blocks.bilinear(x, 8, name="logits_up")
