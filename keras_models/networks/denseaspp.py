"""DenseASPP (Yang et al., 2018) on DenseNet-121: atrous convolutions that see each other's outputs.

"DenseASPP for Semantic Segmentation in Street Scenes", CVPR 2018.
"""

from keras import layers

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

# DenseNet-121: layers of each block and their dilation; only the transition after block 1 pools.
DENSENET_121 = ((6, 1), (12, 1), (24, 2), (16, 4))
GROWTH = 32
BOTTLENECK = 4 * GROWTH
RATES = (3, 6, 12, 18, 24)


@register(
    parameters=8_280_851,
    macs=77_195_640_832,
    input_size=(512, 1024),
    classes=19,
    multiple=8,
    paper="C3",
    status="near",
    reason="parameters as published; FLOPs 155.69G against 155.82G",
    recipes=methods.CITED,
)
def denseaspp121(image, classes):
    """DenseNet-121 at 1/8 of the resolution and five densely connected atrous branches."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    x = blocks.max_pool3(blocks.conv_bn_relu(x, 64, 7, strides=2, name="stem"), name="stem_pool")
    for block, (count, dilation) in enumerate(DENSENET_121, start=1):
        for i in range(1, count + 1):
            x = _dense_layer(x, BOTTLENECK, GROWTH, dilation, name=f"dense{block}_{i}")
        x = blocks.bn_relu(x, name=f"transition{block}")
        x = blocks.pointwise(x, x.shape[-1] // 2, name=f"transition{block}_conv")
        if block == 1:
            x = blocks.average_pool(x, name=f"transition{block}_pool")
    x = blocks.bn_relu(x, name="features")
    for rate in RATES:
        x = _dense_layer(x, 128, 64, rate, use_bias=True, bn_first=rate != RATES[0], name=f"aspp_{rate}")
    x = layers.Dropout(0.1, name="dropout")(x)
    x = blocks.pointwise(x, classes, use_bias=True, name="head")
    return blocks.bilinear_half_pixel(x, 8, name="logits_up")


def _dense_layer(x, bottleneck, growth, dilation, *, use_bias=False, bn_first=True, name):
    """`x` and `growth` channels more, made by a pointwise and a 3x3 convolution with BN and ReLU before each."""
    y = blocks.bn_relu(x, name=f"{name}_in") if bn_first else x
    y = blocks.pointwise(y, bottleneck, use_bias=use_bias, name=f"{name}_reduce")
    y = blocks.bn_relu(y, name=f"{name}_reduce")
    y = blocks.conv(y, growth, dilation=dilation, use_bias=use_bias, name=f"{name}_conv")
    return blocks.concat([x, y], name=f"{name}_concat")
