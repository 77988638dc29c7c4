"""ExtremeC3Net (Park et al., 2019): portrait segmentation in 37.7 K parameters.

"ExtremeC3Net: Extreme Lightweight Portrait Segmentation Networks using Advanced C3-modules", arXiv:1908.03093.
"""

import dataclasses

from keras_models import blocks
from keras_models.pytorch import Published, bn_prelu, c3_module
from keras_models.registry import register
from keras_models.training import methods
from keras_models.training.recipes import Adam, CrossEntropy, Lovasz, LovaszBoundary, Recipe, Stage

PAPER = "ExtremeC3Net"

# Table 1: the dilations of the three C3 blocks in each module of the CoarseNet branch.
DILATIONS = {
    "l1": (1, 2, 3),
    "l2": (1, 3, 4),
    "l3": (1, 3, 5),
    "l4": (2, 4, 8),
    "l5": (2, 4, 8),
    "l6": (2, 4, 8),
    "l7": (2, 4, 8),
    "l8": (2, 4, 8),
}
FINE_DILATIONS = (2, 4, 8)  # not in the table; from the authors' code

# Table 4: large dilations everywhere; and, reversed, at L1, L2 and L3 alone. Which small ones L4 to L8 have is our
# choice: they fall as those of table 1 rise, and stay at the smallest.
BASELINE_DILATIONS = dict.fromkeys(DILATIONS, (2, 4, 8))
REVERSE_DILATIONS = dict.fromkeys(DILATIONS, (1, 2, 3)) | {
    "l1": (2, 4, 8),
    "l2": (2, 4, 8),
    "l3": (2, 4, 8),
    "l4": (1, 3, 5),
    "l5": (1, 3, 4),
}


# Batch, rate, decay and epochs as printed (section 4). Schedule and augmentation, which are not, are those of the code.
_PAPER = Stage(epochs=300, batch_size=60, optimizer=Adam(weight_decay=5e-4), loss=LovaszBoundary(kernel=7))
_CODE = Stage(epochs=300, batch_size=40, loss=LovaszBoundary(kernel=15))
_CODE_COARSE = {"batch_size": 60, "loss": LovaszBoundary(kernel=5)}


def _ablation(coarse: str, loss=_PAPER.loss) -> tuple[Stage, Stage]:
    """The paper's two stages, beginning with the network `coarse`, with another loss."""
    return methods.after(coarse, dataclasses.replace(_PAPER, loss=loss))


def _table_4(coarse: str) -> dict[str, Recipe]:
    """What the rows of table 4 share."""
    text = "The ablations' (tables 3 and 4): the paper's two stages with cross-entropy alone."
    return {"cross_entropy": Recipe(text, _ablation(coarse, CrossEntropy()))}


RECIPES = {
    "paper": Recipe("As printed (section 4): decay 5e-4, a boundary of 7x7, batch 60.", _ablation("extremec3_coarse")),
    "code": Recipe(
        "The authors' code: decay 2e-4; a boundary of 5x5 at a quarter of the size, then 15x15; batch 60, then 40.",
        methods.after("extremec3_coarse", _CODE, **_CODE_COARSE),
    ),
    **_table_4("extremec3_coarse"),
    "lovasz": Recipe(
        "Table 3, before the boundary's loss: the paper's with Lovász alone.", _ablation("extremec3_coarse", Lovasz())
    ),
    "pocket": Recipe(
        "For a CPU: growing input sizes, AdamW, cosine, cross-entropy plus soft IoU, milder augmentation.",
        methods.growing((112, 70), (160, 20), (224, 8)),
    ),
    "mixed": methods.mixed(),
    "drawings": methods.drawings(methods.pocket(112, 5, 1e-2, 2e-3, warmup=1), methods.pocket(224, 1, 2e-3, 1e-5)),
}
RECIPES_COARSE = {
    "paper": Recipe("The first of the paper's two stages.", (_PAPER,)),
    "code": Recipe("The first stage of the authors' code.", (dataclasses.replace(_CODE, **_CODE_COARSE),)),
    "drawings": methods.drawings(methods.pocket(112, 5, 1e-2, 1e-4, warmup=1)),
}
FIRST_OF_TABLE_4 = {
    "cross_entropy": Recipe("The first of table 4's two stages.", (dataclasses.replace(_PAPER, loss=CrossEntropy()),))
}


def _published() -> Published:
    c3 = {
        "encoder.level2_0": "l1",
        "encoder.level2.0": "l2",
        "encoder.level3_0": "l3",
        **{f"encoder.level3.{i}": f"l{i + 4}" for i in range(5)},
    }
    table = {"encoder.level1.conv": "stem_conv", **bn_prelu("encoder.level1", "stem")}
    table |= bn_prelu("encoder.b1", "stem_image")
    for theirs, ours in c3.items():
        table |= c3_module(theirs, ours, DILATIONS[ours], theirs if ours == "l1" else f"{theirs}.bn")
    table |= bn_prelu("encoder.b2", "l2_image")
    table |= bn_prelu("encoder.b3", "coarse")
    table |= {"upsample.0": "coarse_reduce", "upsample.1": "coarse_reduce_bn", "Fine.0.conv": "fine_stem"}
    table |= c3_module("Fine.1", "fine", FINE_DILATIONS, "Fine.1.bn")
    table |= {**bn_prelu("classifier.0", "fuse"), "classifier.2": "head"}
    image_channels = {
        "stem_conv": (0, 255.0),
        "fine_stem": (0, 255.0),
        "stem_image_bn": (24, 255.0),
        "stem_image_prelu": (24, 1.0),
        "l1_reduce": (24, 1.0),
        "l2_image_bn": (96, 255.0),
        "l2_image_prelu": (96, 1.0),
        "l3_reduce": (96, 1.0),
    }
    return Published(table, image_channels)


@register(
    parameters=33_178,
    macs=97_811_840,
    input_size=(224, 224),
    classes=1,
    multiple=4,
    paper=PAPER,
    recipes=RECIPES_COARSE,
)
def extremec3_coarse(image, classes):
    """The network of the first training stage: the CoarseNet branch alone; logits at a quarter of the resolution."""
    return _coarse_network(image, classes, DILATIONS)


@register(
    parameters=37_738,
    macs=127_766_912,
    input_size=(224, 224),
    classes=1,
    multiple=4,
    paper=PAPER,
    status="near",
    reason="parameters and multiply-accumulates as published; FLOPs of all operations 0.274G against 0.286G",
    recipes=RECIPES,
    published=_published,
)
def extremec3(image, classes):
    """CoarseNet sees the whole at 1/4 of the resolution, FineNet sharpens the contour at 1/2 (section 3.2, figure 2).

    The sum is taken at half resolution, as in the authors' code; the paper's text upsamples both branches first.
    """
    return _network(image, classes, DILATIONS)


UNPUBLISHED = {"status": "near", "reason": "table 4 gives its accuracy, not its size"}


@register(
    parameters=39_344,
    macs=132_019_328,
    input_size=(224, 224),
    classes=1,
    multiple=4,
    paper=PAPER,
    recipes=_table_4("extremec3_baseline_coarse"),
    **UNPUBLISHED,
)
def extremec3_baseline(image, classes):
    """ExtremeC3Net with the dilations 2, 4, 8 in all modules (table 4, baseline setting)."""
    return _network(image, classes, BASELINE_DILATIONS)


@register(
    parameters=36_194,
    macs=123_552_128,
    input_size=(224, 224),
    classes=1,
    multiple=4,
    paper=PAPER,
    recipes=_table_4("extremec3_reverse_coarse"),
    **UNPUBLISHED,
)
def extremec3_reverse(image, classes):
    """ExtremeC3Net with the large dilations in the modules next to the image (table 4, reverse setting)."""
    return _network(image, classes, REVERSE_DILATIONS)


@register(
    parameters=34_784,
    macs=102_064_256,
    input_size=(224, 224),
    classes=1,
    multiple=4,
    paper=PAPER,
    recipes=FIRST_OF_TABLE_4,
    **UNPUBLISHED,
)
def extremec3_baseline_coarse(image, classes):
    """The network of the baseline's first training stage; logits at a quarter of the resolution."""
    return _coarse_network(image, classes, BASELINE_DILATIONS)


@register(
    parameters=31_634,
    macs=93_597_056,
    input_size=(224, 224),
    classes=1,
    multiple=4,
    paper=PAPER,
    recipes=FIRST_OF_TABLE_4,
    **UNPUBLISHED,
)
def extremec3_reverse_coarse(image, classes):
    """The network of the reversed setting's first training stage; logits at a quarter of the resolution."""
    return _coarse_network(image, classes, REVERSE_DILATIONS)


def _coarse_network(image, classes, dilations):
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    return blocks.pointwise(_coarse(x, dilations), classes, name="coarse_head")


def _network(image, classes, dilations):
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    coarse = blocks.pointwise(_coarse(x, dilations), 24, name="coarse_reduce")
    coarse = blocks.batch_norm(coarse, epsilon=1e-5, name="coarse_reduce_bn")
    coarse = blocks.bilinear(coarse, 2, name="coarse_up")

    fine = blocks.conv(x, 24, strides=2, name="fine_stem")
    fine = blocks.c3_module(fine, 24, FINE_DILATIONS, residual=True, name="fine")

    x = blocks.bn_prelu(blocks.add([coarse, fine], name="fuse_add"), name="fuse")
    x = blocks.bilinear(x, 2, name="fuse_up")
    return blocks.pointwise(x, classes, name="head")


def _coarse(image, dilations):
    """112 channels at a quarter of the resolution."""
    half = blocks.average_pool(image, name="image_half")
    # Halved a second time, as the authors' code does and counts; TensorFlow and the TFLite converter merge the two.
    quarter = blocks.average_pool(blocks.average_pool(image, name="image_half_again"), name="image_quarter")

    x = blocks.conv_bn_prelu(image, 24, strides=2, name="stem")
    x = blocks.bn_prelu(blocks.concat([x, half], name="stem_image_concat"), name="stem_image")

    l1 = blocks.c3_module(x, 48, dilations["l1"], strides=2, name="l1")
    l2 = blocks.c3_module(l1, 48, dilations["l2"], residual=True, name="l2")
    x = blocks.bn_prelu(blocks.concat([l2, l1, quarter], name="l2_image_concat"), name="l2_image")

    x = l3 = blocks.c3_module(x, 56, dilations["l3"], name="l3")
    for level in ("l4", "l5", "l6", "l7", "l8"):
        x = blocks.c3_module(x, 56, dilations[level], residual=True, name=level)
    return blocks.bn_prelu(blocks.concat([l3, x], name="coarse_concat"), name="coarse")
