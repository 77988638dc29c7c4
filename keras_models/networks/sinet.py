"""SINet (Park et al., 2019): spatial squeeze blocks and an information-blocking decoder.

"SINet: Extreme Lightweight Portrait Segmentation Networks with Spatial Squeeze Modules and Information Blocking
Decoder", arXiv:1911.09099: the later network of ExtremeC3Net's and the C3 paper's authors. None of the five papers is
about it, the poster compares with it; the Cityscapes network is that of the authors' code.
"""

import dataclasses

from keras_models import blocks
from keras_models.pytorch import Published, bn_prelu
from keras_models.registry import register
from keras_models.training import methods
from keras_models.training.recipes import SGD, Auxiliary, CrossEntropy, LovaszBoundary, PolynomialDecay, Recipe, Stage

# Kernel size and pooling of the two S2 blocks of each module.
LEVEL_2 = (((3, 1), (5, 1)), ((3, 1), (3, 1)))
LEVEL_3 = (
    ((3, 1), (5, 1)),
    ((3, 1), (3, 1)),
    ((5, 1), (3, 2)),
    ((5, 2), (3, 4)),
    ((3, 1), (3, 1)),
    ((5, 1), (5, 1)),
    ((3, 2), (3, 4)),
    ((3, 1), (5, 2)),
)

# The same for Cityscapes, with the width of each module; a pooling of 0 is a 3x3 convolution without the squeeze.
CITYSCAPES_LEVEL_3 = ((60, (3, 1), (5, 1)), (60, (3, 0), (3, 1)), (60, (3, 0), (3, 1)))
CITYSCAPES_LEVEL_4 = (
    (84, (3, 1), (5, 1)),
    (84, (3, 0), (3, 1)),
    (84, (5, 1), (5, 4)),
    (84, (3, 2), (5, 8)),
    (84, (3, 1), (5, 1)),
    (108, (3, 1), (5, 1)),
    (108, (3, 0), (3, 1)),
    (108, (5, 1), (5, 8)),
    (108, (3, 2), (5, 4)),
    (108, (3, 0), (5, 2)),
)


AUTHORS = "Authors' code"
LATER = "the later network of ExtremeC3Net's authors"

SECOND_STAGE = Stage(epochs=300, batch_size=24, learning_rate=5e-4, loss=LovaszBoundary())
FIRST_STAGE = dataclasses.replace(SECOND_STAGE, batch_size=36, loss=LovaszBoundary(kernel=5))
CODE = Recipe(
    "The authors' two stages: the encoder, then the whole network.",
    (dataclasses.replace(FIRST_STAGE, network="sinet_encoder"), SECOND_STAGE),
)
CODE_CITYSCAPES = Recipe(
    "The authors' code: warm-up over a twentieth, poly 0.98, a quarter of the loss at 1/16 of the resolution.",
    (
        Stage(
            epochs=1500,
            batch_size=6,
            learning_rate=0.045,
            optimizer=SGD(),
            schedule=PolynomialDecay(power=0.98, warmup_epochs=75),
            loss=CrossEntropy(),
            auxiliary=Auxiliary("level4_classes", 0.25),
            augmentation=methods.STREET,
        ),
    ),
)


def _published_down(theirs: str, ours: str, excitations: int) -> dict[str, str]:
    """A strided separable convolution with squeeze-and-excitation."""
    table = {
        f"{theirs}.conv.0": f"{ours}_depthwise",
        f"{theirs}.conv.2": f"{ours}_pointwise",
        **bn_prelu(theirs, ours),
    }
    for i in range(excitations):
        table[f"{theirs}.conv.1.dense.{2 * i}"] = f"{ours}_excite_{i + 1}"
        table[f"{theirs}.conv.1.dense.{2 * i + 1}"] = f"{ours}_excite_{i + 1}_prelu"
    return table


def _published() -> Published:
    table = {"encoder.level1.conv": "level1_conv", **bn_prelu("encoder.level1", "level1")}
    for level, modules in ((2, LEVEL_2), (3, LEVEL_3)):
        table |= _published_down(f"encoder.level{level}_0", f"level{level}_down", excitations=level - 1)
        table |= bn_prelu(f"encoder.BR{level}", f"level{level}")
        for i in range(len(modules)):
            theirs, ours = f"encoder.level{level}.{i}", f"level{level}_{i + 1}"
            table |= {f"{theirs}.c1.conv": f"{ours}_reduce", **bn_prelu(f"{theirs}.BR", ours)}
            for branch in (1, 2):
                steps = {
                    "conv.0": "depthwise",
                    "conv.1": "depthwise_bn",
                    "act_conv1x1.0": "depthwise_prelu",
                    "act_conv1x1.1": "pointwise",
                    "bn": "bn",
                }
                table |= {f"{theirs}.d{branch}.{step}": f"{ours}_{branch}_{name}" for step, name in steps.items()}
    table |= {"encoder.classifier.conv": "level3_classes", "bn_3": "level3_up_bn", "bn_2": "level2_up_bn"}
    table |= {"level2_C.conv": "level2_classes_conv", **bn_prelu("level2_C", "level2_classes"), "classifier.1": "head"}
    return Published(table, {"level1_conv": (0, 255.0)})


def _published_cityscapes() -> Published:
    table = {"encoder.level1.conv": "level1_conv", **bn_prelu("encoder.level1", "level1")}
    table |= _published_down("encoder.level2_0", "level2_down", excitations=1)
    for level, modules in ((3, CITYSCAPES_LEVEL_3), (4, CITYSCAPES_LEVEL_4)):
        table |= _published_down(f"encoder.level{level}_0", f"level{level}_down", excitations=level - 2)
        table |= bn_prelu(f"encoder.BR{level}", f"level{level}")
        for i, (_, *options) in enumerate(modules):
            theirs, ours = f"encoder.level{level}.{i}", f"level{level}_{i + 1}"
            table |= {f"{theirs}.c1.conv": f"{ours}_reduce", **bn_prelu(f"{theirs}.BR", ours)}
            for branch, (_, pooling) in enumerate(options, start=1):
                cross = {
                    "vertical": "vertical",
                    "horizontal": "horizontal",
                    "B_v": "vertical_bn",
                    "B_h": "horizontal_bn",
                }
                steps = cross if pooling else {"conv.0": "depthwise", "conv.1": "depthwise_bn"}
                steps = steps | {"act_conv1x1.0": "prelu", "act_conv1x1.1": "pointwise", "bn": "bn"}
                table |= {f"{theirs}.d{branch}.{step}": f"{ours}_{branch}_{name}" for step, name in steps.items()}
    table |= {"encoder.classifier.conv": "level4_classes", "bn_4": "level4_up_bn", "bn_3": "level3_up_bn"}
    table |= {"level3_C.conv": "level3_classes_conv", **bn_prelu("level3_C", "level3_classes"), "classifier": "head"}
    return Published(table, {})  # these authors feed RGB


@register(
    parameters=86_764,
    macs=61_763_056,
    input_size=(224, 224),
    classes=2,
    multiple=32,
    paper=AUTHORS,
    reason=LATER,
    recipes={"code": Recipe("The first of SINet's two stages.", (FIRST_STAGE,))},
)
def sinet_encoder(image, classes):
    """The network of the first training stage; logits at an eighth of the resolution."""
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    logits, _ = _encoder(x, classes)
    return logits


@register(
    parameters=86_910,
    macs=63_870_448,
    input_size=(224, 224),
    classes=2,
    multiple=32,
    paper=AUTHORS,
    reason=LATER,
    recipes={"code": CODE, "mixed": methods.mixed()},
    published=_published,
)
def sinet(image, classes):
    """The decoder lets detail in only where the coarser prediction is not sure: information blocking (section 3.2)."""
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    x, level2 = _encoder(x, classes)
    x = blocks.batch_norm(blocks.bilinear(x, 2, name="level3_up"), name="level3_up_bn")
    detail = blocks.conv_bn_prelu(level2, classes, 1, name="level2_classes")
    x = blocks.bilinear(blocks.attention_gate(detail, x, name="level2_block"), 2, name="level2_up")
    x = blocks.bilinear(blocks.batch_norm(x, name="level2_up_bn"), 2, name="level1_up")
    return blocks.conv(x, classes, name="head")


def _encoder(image, classes):
    """Logits at 1/8, and what the decoder takes from 1/4."""
    x = blocks.conv_bn_prelu(image, 12, strides=2, name="level1")

    x = down = _squeeze_separable(x, 16, hidden=None, name="level2_down")
    for i, (first, second) in enumerate(LEVEL_2, start=1):
        x = _module(x, 48, first, second, _s2_block, name=f"level2_{i}")
    level2 = x
    x = blocks.bn_prelu(blocks.concat([down, x], name="level2_concat"), name="level2")

    x = down = _squeeze_separable(x, 48, hidden=32, name="level3_down")
    for i, (first, second) in enumerate(LEVEL_3, start=1):
        x = _module(x, 96, first, second, _s2_block, name=f"level3_{i}")
    x = blocks.bn_prelu(blocks.concat([down, x], name="level3_concat"), name="level3")
    return blocks.pointwise(x, classes, name="level3_classes"), level2


@register(
    parameters=119_418,
    macs=1_388_884_473,
    input_size=(1024, 2048),
    classes=19,
    multiple=128,
    paper=AUTHORS,
    status="near",
    reason=f"{LATER}; their page rounds to 0.12M and says 1.22G; their counter leaves the last deconvolution out",
    recipes={"code": CODE_CITYSCAPES},
    published=_published_cityscapes,
)
def sinet_cityscapes(image, classes):
    """The authors' network for Cityscapes. It predicts at half the resolution, which an upsampling doubles."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    x = blocks.conv_bn_prelu(x, 16, strides=2, name="level1")
    x = level2 = _squeeze_separable(x, classes, hidden=None, name="level2_down")

    x = down = _squeeze_separable(x, 24, hidden=None, name="level3_down")
    for i, (width, first, second) in enumerate(CITYSCAPES_LEVEL_3, start=1):
        x = _module(x, width, first, second, _cross_block, name=f"level3_{i}")
    level3 = x
    x = blocks.bn_prelu(blocks.concat([down, x], name="level3_concat"), name="level3")

    x = down = _squeeze_separable(x, 60, hidden=42, name="level4_down")
    for i, (width, first, second) in enumerate(CITYSCAPES_LEVEL_4, start=1):
        x = _module(x, width, first, second, _cross_block, name=f"level4_{i}")
    x = blocks.bn_prelu(blocks.concat([down, x], name="level4_concat"), name="level4")

    x = blocks.pointwise(x, classes, name="level4_classes")
    x = blocks.batch_norm(blocks.bilinear_half_pixel(x, 2, name="level4_up"), name="level4_up_bn")
    detail = blocks.conv_bn_prelu(level3, classes, 1, name="level3_classes")
    x = blocks.attention_gate(detail, x, name="level3_block")
    x = blocks.batch_norm(blocks.bilinear_half_pixel(x, 2, name="level3_up"), name="level3_up_bn")
    x = blocks.attention_gate(level2, x, name="level2_block")
    return blocks.bilinear_half_pixel(blocks.deconv(x, classes, name="head"), 2, name="logits_up")


def _squeeze_separable(x, filters, *, hidden, name):
    """A strided depthwise convolution, squeeze-and-excitation, a pointwise convolution, BN and PReLU.

    The squeeze has one layer without `hidden` channels and two with; both end in a PReLU, where others have a sigmoid.
    """
    x = blocks.depthwise(x, strides=2, name=f"{name}_depthwise")
    channels = x.shape[-1]
    y = blocks.global_pool(x, name=f"{name}_squeeze")
    for i, width in enumerate((hidden, channels) if hidden else (channels,), start=1):
        y = blocks.pointwise(y, width, use_bias=True, name=f"{name}_excite_{i}")
        y = blocks.prelu(y, name=f"{name}_excite_{i}_prelu")
    x = blocks.pointwise(blocks.multiply([x, y], name=f"{name}_scale"), filters, name=f"{name}_pointwise")
    return blocks.bn_prelu(x, name=name)


def _module(x, filters, first, second, block, *, name):
    """Two S2 blocks side by side on a grouped and shuffled reduction (section 3.1, figure 3)."""
    reduced = blocks.grouped_pointwise(x, filters // 2, 2, shuffle=True, name=f"{name}_reduce")
    branches = [block(reduced, *options, name=f"{name}_{i}") for i, options in enumerate((first, second), start=1)]
    y = blocks.concat(branches, name=f"{name}_concat")
    if x.shape[-1] == filters:
        y = blocks.add([x, y], name=f"{name}_add")
    return blocks.bn_prelu(y, name=name)


def _s2_block(x, kernel_size, pooling, *, name):
    """Squeeze the space by average pooling, convolve depthwise and pointwise, expand by upsampling."""
    filters = x.shape[-1]
    if pooling > 1:
        x = blocks.average_pool(x, pooling, name=f"{name}_squeeze")
    x = blocks.bn_prelu(blocks.depthwise(x, kernel_size, name=f"{name}_depthwise"), name=f"{name}_depthwise")
    x = blocks.pointwise(x, filters, name=f"{name}_pointwise")
    if pooling > 1:
        x = blocks.bilinear(x, pooling, name=f"{name}_expand")
    return blocks.batch_norm(x, name=f"{name}_bn")


def _cross_block(x, kernel_size, pooling, *, name):
    """The S2 block of the Cityscapes network: a column and a row, added, in the place of a square."""
    filters = x.shape[-1]
    if pooling > 1:
        x = blocks.average_pool(x, pooling, name=f"{name}_squeeze")
    if pooling:
        column = blocks.depthwise(x, (kernel_size, 1), name=f"{name}_vertical")
        row = blocks.depthwise(x, (1, kernel_size), name=f"{name}_horizontal")
        column = blocks.batch_norm(column, name=f"{name}_vertical_bn")
        row = blocks.batch_norm(row, name=f"{name}_horizontal_bn")
        x = blocks.add([column, row], name=f"{name}_cross")
    else:
        x = blocks.depthwise(x, kernel_size, name=f"{name}_depthwise")
        x = blocks.batch_norm(x, name=f"{name}_depthwise_bn")
    x = blocks.pointwise(blocks.prelu(x, name=f"{name}_prelu"), filters, name=f"{name}_pointwise")
    if pooling > 1:
        x = blocks.bilinear_half_pixel(x, pooling, name=f"{name}_expand")
    return blocks.batch_norm(x, name=f"{name}_bn")
