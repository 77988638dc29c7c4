"""RTSeg's SkipNets (Siam et al., 2018): FCN-8s' skips on MobileNet and on ShuffleNet.

"RTSeg: Real-time Semantic Segmentation Comparative Study", arXiv:1803.02758. The C3 paper cites both.
"""

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

# MobileNet (arXiv:1704.04861): width and stride of the separable convolutions, by the resolution they end at.
MOBILENET = {
    4: ((64, 1), (128, 2), (128, 1)),
    8: ((256, 2), (256, 1)),
    16: ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    32: ((1024, 2), (1024, 1)),
}
# ShuffleNet (arXiv:1707.01083), three groups: width and units of each stage.
SHUFFLENET = {8: (240, 4), 16: (480, 8), 32: (960, 4)}
GROUPS = 3

CITYSCAPES = {
    "input_size": (512, 1024),
    "classes": 20,
    "multiple": 32,
    "paper": "C3",
    "status": "not reproducible",
}


@register(
    parameters=3_358_076,
    macs=6_860_701_696,
    reason="3.36M and 13.9G against 3.37M and 15.38G, which the C3 paper cites",
    recipes=methods.CITED,
    **CITYSCAPES,
)
def skip_mobilenet(image, classes):
    """SkipNet on MobileNet."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    x = blocks.conv_bn_relu(x, 32, strides=2, name="stem")
    features = {}
    for scale, convolutions in MOBILENET.items():
        for i, (width, strides) in enumerate(convolutions, start=1):
            x = blocks.depthwise_bn_relu(x, strides=strides, name=f"scale{scale}_{i}_depthwise")
            x = blocks.conv_bn_relu(x, width, 1, name=f"scale{scale}_{i}")
        features[scale] = x
    return _skipnet(features, classes)


@register(
    parameters=1_053_588,
    macs=2_350_350_336,
    reason="1.05M and 4.8G against 1.0M and 6.22G, which the C3 paper cites",
    recipes=methods.CITED,
    **CITYSCAPES,
)
def skip_shufflenet(image, classes):
    """SkipNet on ShuffleNet."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    x = blocks.max_pool3(blocks.conv_bn_relu(x, 24, strides=2, name="stem"), name="stem_pool")
    features = {}
    for scale, (width, units) in SHUFFLENET.items():
        for i in range(1, units + 1):
            x = _shuffle_unit(x, width, strides=2 if i == 1 else 1, name=f"scale{scale}_{i}")
        features[scale] = x
    return _skipnet(features, classes)


def _skipnet(features, classes):
    """Class scores at 1/32, and at 1/16 and 1/8 where they join on the way up."""
    x = blocks.pointwise(features[32], classes, use_bias=True, name="score32")
    for scale in (16, 8):
        x = blocks.deconv(x, classes, 4, name=f"score{scale}_up")
        skip = blocks.pointwise(features[scale], classes, use_bias=True, name=f"score{scale}")
        x = blocks.add([x, skip], name=f"score{scale}_add")
    return blocks.deconv(x, classes, 16, strides=8, name="head")


def _shuffle_unit(x, filters, *, strides, name):
    """Grouped pointwise, shuffle, depthwise, grouped pointwise, around a shortcut (figure 2 b and c)."""
    width = filters - x.shape[-1] if strides > 1 else filters
    if x.shape[-1] == 24:  # too few channels for groups
        y = blocks.pointwise(x, filters // 4, name=f"{name}_reduce")
    else:
        y = blocks.grouped_pointwise(x, filters // 4, GROUPS, shuffle=True, name=f"{name}_reduce")
    y = blocks.bn_relu(y, name=f"{name}_reduce")
    y = blocks.depthwise(y, strides=strides, name=f"{name}_depthwise")
    y = blocks.batch_norm(y, epsilon=1e-5, name=f"{name}_depthwise_bn")
    y = blocks.grouped_pointwise(y, width, GROUPS, name=f"{name}_expand")
    y = blocks.batch_norm(y, epsilon=1e-5, name=f"{name}_expand_bn")
    if strides > 1:
        y = blocks.concat([blocks.average_pool3(x, name=f"{name}_pool"), y], name=f"{name}_concat")
    else:
        y = blocks.add([x, y], name=f"{name}_add")
    return blocks.relu(y, name=f"{name}_relu")
