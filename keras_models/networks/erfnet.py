"""ERFNet (Romera et al., 2017), and CCC-ERFNet of the C3 paper.

"ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic Segmentation", IEEE T-ITS 19(1).
"""

from keras import layers

from keras_models import blocks
from keras_models.layers import Idle
from keras_models.registry import register
from keras_models.training import methods
from keras_models.training.recipes import Recipe

DILATIONS = (2, 4, 8, 16, 2, 4, 8, 16)  # of the blocks with 128 channels
CITYSCAPES = {"input_size": (512, 1024), "classes": 20, "multiple": 8, "paper": "C3", "void": True}


def _two_stages(encoder: str) -> dict[str, Recipe]:
    text = "ERFNet's, which the C3 paper follows for both: the encoder, then the whole."
    return {"paper": Recipe(text, methods.after(encoder, methods.ERFNET))} | methods.STREETS


FIRST_STAGE = {"paper": Recipe("The first of ERFNet's two stages.", (methods.ERFNET,))}


@register(
    parameters=2_066_836,
    macs=26_612_727_808,
    recipes=_two_stages("erfnet_encoder"),
    **CITYSCAPES,
)
def erfnet(image, classes):
    """Encoder and decoder of non-bottleneck-1D blocks (table I); every convolution has a bias."""
    return _network(image, classes, _factorized)


@register(
    parameters=1_452_436,
    macs=21_554_397_184,
    status="near",
    reason="parameters as published; FLOPs 43.39G against 43.34G",
    recipes=_two_stages("ccc_erfnet_encoder"),
    **CITYSCAPES,
)
def ccc_erfnet(image, classes):
    """ERFNet with a CCC block for the dilated pair of convolutions in each of the eight blocks."""
    return _network(image, classes, _ccc)


@register(
    parameters=1_876_624,
    macs=21_533_425_664,
    reason="a training stage",
    recipes=FIRST_STAGE,
    **CITYSCAPES,
)
def erfnet_encoder(image, classes):
    """The network of the first training stage; logits at an eighth of the resolution."""
    return blocks.pointwise(_encoder(image, _factorized), classes, use_bias=True, name="encoder_head")


@register(
    parameters=1_262_224,
    macs=16_475_095_040,
    reason="a training stage",
    recipes=FIRST_STAGE,
    **CITYSCAPES,
)
def ccc_erfnet_encoder(image, classes):
    """The network of CCC-ERFNet's first training stage; logits at an eighth of the resolution."""
    return blocks.pointwise(_encoder(image, _ccc), classes, use_bias=True, name="encoder_head")


def _network(image, classes, dilated):
    x = _encoder(image, dilated)
    # The head of the first training stage belongs to the published count.
    x = Idle(((1, 1, 128, classes), (classes,)), name="encoder_head_counted")(x)
    for width in (64, 16):
        x = blocks.deconv(x, width, 3, use_bias=True, name=f"up_{width}_deconv")
        x = blocks.bn_relu(x, epsilon=1e-3, name=f"up_{width}")
        for i in (1, 2):
            x = _non_bottleneck(x, 1, _factorized, dropout=0, name=f"decoder_{width}_{i}")
    return blocks.deconv(x, classes, use_bias=True, name="head")


def _encoder(image, dilated):
    """128 channels at an eighth of the resolution; `dilated` is the second half of its last eight blocks."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    x = _down(x, 16, name="down1")
    x = _down(x, 64, name="down2")
    for i in range(1, 6):
        x = _non_bottleneck(x, 1, _factorized, dropout=0.03, name=f"encoder_64_{i}")
    x = _down(x, 128, name="down3")
    for i, dilation in enumerate(DILATIONS, start=1):
        x = _non_bottleneck(x, dilation, dilated, dropout=0.3, name=f"encoder_128_{i}")
    return x


def _down(x, filters, *, name):
    """A strided convolution beside max pooling, as ENet's initial block."""
    y = blocks.conv(x, filters - x.shape[-1], strides=2, use_bias=True, name=f"{name}_conv")
    y = blocks.concat([y, blocks.max_pool(x, name=f"{name}_pool")], name=f"{name}_concat")
    return blocks.bn_relu(y, epsilon=1e-3, name=name)


def _non_bottleneck(x, dilation, second, *, dropout, name):
    """Non-bottleneck-1D: two pairs of a column and a row around a residual; `second` is the dilated pair."""
    y = _factorized(x, 1, name=f"{name}_1")
    y = second(blocks.bn_relu(y, epsilon=1e-3, name=f"{name}_1"), dilation, name=f"{name}_2")
    y = blocks.batch_norm(y, epsilon=1e-3, name=f"{name}_2_bn")
    if dropout:
        y = layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(y)
    return blocks.relu(blocks.add([y, x], name=f"{name}_add"), name=f"{name}_relu")


def _factorized(x, dilation, *, name):
    filters = x.shape[-1]
    x = blocks.conv(x, filters, (3, 1), dilation=dilation, use_bias=True, name=f"{name}_vertical")
    x = blocks.relu(x, name=f"{name}_vertical_relu")
    return blocks.conv(x, filters, (1, 3), dilation=dilation, use_bias=True, name=f"{name}_horizontal")


def _ccc(x, dilation, *, name):
    return blocks.c3(x, x.shape[-1], dilation, name=name)
