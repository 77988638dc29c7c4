"""FCN-8s (Long et al., 2015): VGG-16 made fully convolutional, with two skips.

"Fully Convolutional Networks for Semantic Segmentation", arXiv:1411.4038.
"""

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

VGG_16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@register(
    parameters=134_456_985,
    macs=222_431_387_648,
    input_size=(512, 1024),
    classes=19,
    multiple=32,
    paper="C3",
    status="not reproducible",
    reason="parameters as published; its 970G count a first convolution padded by 100, which this network is not",
    recipes={"c3": methods.CITED["paper"], "lipnet": methods.LIPNET["paper"]},
)
def fcn8s(image, classes):
    """Convolutions pad to keep the size, where the original pads the image by 100 pixels and crops."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    pools = []
    for stage, widths in enumerate(VGG_16, start=1):
        for i, width in enumerate(widths, start=1):
            x = _conv_relu(x, width, 3, name=f"conv{stage}_{i}")
        x = blocks.max_pool(x, name=f"pool{stage}")
        pools.append(x)
    x = _conv_relu(x, 4096, 7, name="fc6")
    x = _conv_relu(x, 4096, 1, name="fc7")

    x = blocks.deconv(blocks.pointwise(x, classes, use_bias=True, name="score"), classes, 4, name="score_up")
    for stage in (4, 3):
        skip = blocks.pointwise(pools[stage - 1], classes, use_bias=True, name=f"score_pool{stage}")
        x = blocks.add([x, skip], name=f"fuse_pool{stage}")
        kernel_size, strides = (4, 2) if stage == 4 else (16, 8)
        x = blocks.deconv(x, classes, kernel_size, strides=strides, name=f"up_pool{stage}")
    return x


def _conv_relu(x, filters, kernel_size, *, name):
    return blocks.relu(blocks.conv(x, filters, kernel_size, use_bias=True, name=name), name=f"{name}_relu")
