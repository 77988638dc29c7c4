"""ENet (Paszke et al., 2016): the first network made for segmentation in real time.

"ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation", arXiv:1606.02147. Pooling windows do
not overlap, as the paper says, so that unpooling has one place for each value; a widespread port's are 3x3.
"""

import keras
from keras import layers

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

# The bottlenecks of stages 2 and 3 (table 1): a dilation, or an asymmetric 5x5 convolution.
STAGE = (1, 2, "asymmetric", 4, 1, 8, "asymmetric", 16)


@register(
    parameters=355_542,
    macs=363_713_280,
    input_size=(224, 224),
    classes=2,
    multiple=8,
    paper="ExtremeC3Net",
    recipes=methods.AS_PORTRAITNET,
)
def enet(image, classes):
    """Encoder stages 1 to 3 with PReLU, one slope for each bottleneck; decoder stages 4 and 5 with ReLU."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    y = blocks.conv(x, 13, strides=2, name="initial_conv")
    x = blocks.concat([y, blocks.max_pool(x, name="initial_pool")], name="initial_concat")
    x = _prelu("initial_prelu")(blocks.batch_norm(x, epsilon=1e-5, name="initial_bn"))

    source_1 = x
    x = _down(x, 64, dropout=0.01, name="stage1_0")
    for i in range(1, 5):
        x = _bottleneck(x, 1, _prelu(f"stage1_{i}_prelu"), dropout=0.01, name=f"stage1_{i}")
    source_2 = x
    x = _down(x, 128, dropout=0.1, name="stage2_0")
    for stage in (2, 3):
        for i, kind in enumerate(STAGE, start=1):
            name = f"stage{stage}_{i}"
            x = _bottleneck(x, kind, _prelu(f"{name}_prelu"), dropout=0.1, name=name)

    x = _up(x, 64, source_2, name="stage4_0")
    for i in (1, 2):
        x = _bottleneck(x, 1, None, dropout=0.1, name=f"stage4_{i}")
    x = _up(x, 16, source_1, name="stage5_0")
    x = _bottleneck(x, 1, None, dropout=0.1, name="stage5_1")
    return blocks.deconv(x, classes, 3, name="head")


def _prelu(name):
    """A PReLU layer with a single slope, which a bottleneck uses for all its activations."""
    slope = keras.initializers.Constant(0.25)
    return layers.PReLU(alpha_initializer=slope, shared_axes=[1, 2, 3], name=name)


def _bn_act(x, prelu, *, name):
    """Batch normalisation, then the bottleneck's PReLU, or ReLU where there is none."""
    x = blocks.batch_norm(x, epsilon=1e-5, name=f"{name}_bn")
    return prelu(x) if prelu else blocks.relu(x, name=f"{name}_relu")


def _bottleneck(x, kind, prelu, *, dropout, name):
    """Project to a quarter, convolve, expand, add (figure 2 b)."""
    filters = x.shape[-1]
    y = _bn_act(blocks.pointwise(x, filters // 4, name=f"{name}_reduce"), prelu, name=f"{name}_reduce")
    if kind == "asymmetric":
        y = blocks.conv(y, filters // 4, (5, 1), name=f"{name}_vertical")
        y = _bn_act(y, prelu, name=f"{name}_vertical")
        y = blocks.conv(y, filters // 4, (1, 5), name=f"{name}_horizontal")
    else:
        y = blocks.conv(y, filters // 4, dilation=kind, name=f"{name}_conv")
    return _expand_and_add(_bn_act(y, prelu, name=f"{name}_conv"), x, prelu, dropout=dropout, name=name)


def _down(x, filters, *, dropout, name):
    """Max pooling with channels of zeros added, beside a strided bottleneck."""
    prelu = _prelu(f"{name}_prelu")
    width = x.shape[-1] // 4
    y = layers.Conv2D(width, 2, strides=2, use_bias=False, kernel_initializer="he_normal", name=f"{name}_reduce")(x)
    y = _bn_act(y, prelu, name=f"{name}_reduce")
    y = _bn_act(blocks.conv(y, width, name=f"{name}_conv"), prelu, name=f"{name}_conv")
    main = blocks.pad_channels(blocks.max_pool(x, name=f"{name}_pool"), filters, name=f"{name}_pad")
    return _expand_and_add(y, main, prelu, dropout=dropout, name=name)


def _up(x, filters, source, *, name):
    """Max unpooling to where `source` had its maxima, beside a bottleneck with a transposed convolution."""
    width = x.shape[-1] // 4
    main = blocks.pointwise(x, filters, name=f"{name}_main")
    main = blocks.max_unpool(
        blocks.batch_norm(main, epsilon=1e-5, name=f"{name}_main_bn"), source, name=f"{name}_unpool"
    )
    y = _bn_act(blocks.pointwise(x, width, name=f"{name}_reduce"), None, name=f"{name}_reduce")
    y = _bn_act(blocks.deconv(y, width, 3, name=f"{name}_deconv"), None, name=f"{name}_deconv")
    return _expand_and_add(y, main, None, dropout=0.1, name=name)


def _expand_and_add(y, main, prelu, *, dropout, name):
    y = blocks.pointwise(y, main.shape[-1], name=f"{name}_expand")
    y = _bn_act(y, prelu, name=f"{name}_expand")
    y = layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(y)
    y = blocks.add([main, y], name=f"{name}_add")
    return prelu(y) if prelu else blocks.relu(y, name=f"{name}_relu")
