"""ContextNet (Poudel et al., 2018): a deep network on the small image, a shallow one on the large.

"ContextNet: Exploring Context and Detail for Semantic Segmentation in Real-time", arXiv:1805.04554.
"""

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

# The deep branch's bottlenecks: expansion factor, width, blocks, stride of the first (table 1).
BOTTLENECKS = ((1, 32, 1, 1), (6, 32, 1, 1), (6, 48, 3, 2), (6, 64, 3, 2), (6, 96, 2, 1), (6, 128, 2, 1))
SHALLOW = ((64, 2), (128, 2), (128, 1))  # width and stride of the separable convolutions after the first
FUSION = 128

PORTRAIT = {"input_size": (224, 224), "classes": 2, "multiple": 16, "paper": "ExtremeC3Net"}


@register(
    parameters=838_018,
    macs=332_020_864,
    status="not reproducible",
    reason="838K as published; its FLOPs are 4.67 times those of this graph, and no branch layout gives them",
    recipes=methods.IN_COMPARISON,
    **PORTRAIT,
)
def contextnet12(image, classes):
    """cn12: the shallow branch on the image, the deep one on the image at half its resolution."""
    return _network(image, classes, 1)


@register(
    parameters=64_642,
    macs=27_234_592,
    status="not reproducible",
    reason="published 67.2K and 0.372G; a quarter of every width gives 64.6K and 0.060G",
    recipes=methods.IN_COMPARISON,
    **PORTRAIT,
)
def contextnet12_quarter(image, classes):
    """ContextNet12 with a quarter of the channels."""
    return _network(image, classes, 0.25)


def _network(image, classes, width):
    image = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    fusion = round(FUSION * width)

    x = blocks.conv_bn_relu(image, round(32 * width), strides=2, name="shallow1")
    for i, (filters, strides) in enumerate(SHALLOW, start=2):
        x = blocks.depthwise_bn_relu(x, strides=strides, name=f"shallow{i}_depthwise")
        x = blocks.conv_bn_relu(x, round(filters * width), 1, name=f"shallow{i}")
    shallow = x

    x = blocks.average_pool(image, name="image_half")
    x = blocks.conv_bn_relu(x, round(32 * width), strides=2, name="deep_stem")
    for stage, (expansion, filters, count, strides) in enumerate(BOTTLENECKS, start=1):
        for i in range(1, count + 1):
            x = blocks.inverted_residual(
                x,
                round(filters * width),
                expansion * x.shape[-1],
                strides=strides if i == 1 else 1,
                name=f"deep{stage}_{i}",
            )

    x = blocks.bilinear(x, 2, name="deep_up")
    x = blocks.depthwise_bn_relu(x, dilation=4, name="fuse_depthwise")
    x = blocks.batch_norm(blocks.pointwise(x, fusion, name="fuse_deep"), epsilon=1e-5, name="fuse_deep_bn")
    shallow = blocks.pointwise(shallow, fusion, name="fuse_shallow")
    shallow = blocks.batch_norm(shallow, epsilon=1e-5, name="fuse_shallow_bn")
    x = blocks.relu(blocks.add([x, shallow], name="fuse_add"), name="fuse_relu")
    return blocks.bilinear(blocks.pointwise(x, classes, use_bias=True, name="head"), 8, name="logits_up")
