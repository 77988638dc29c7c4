"""U-Net (Ronneberger et al., 2015): "Convolutional Networks for Biomedical Image Segmentation", arXiv:1505.04597."""

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

WIDTHS = (64, 128, 256, 512, 1024)


@register(
    parameters=31_032_005,
    macs=192_736_657_408,
    input_size=(512, 512),
    classes=5,
    multiple=16,
    paper="Improved DeepLabv3+",
    status="near",
    reason="no published count; U-Net's own widths, padded so that the output is as large as the input",
    recipes=methods.DEEPLAB,
)
def unet(image, classes):
    """The contracting and the expanding path, without batch normalisation, as in the paper."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    skips = []
    for level, width in enumerate(WIDTHS, start=1):
        if level > 1:
            x = blocks.max_pool(x, name=f"down{level}_pool")
        x = _double(x, width, name=f"down{level}")
        skips.append(x)
    for level in (4, 3, 2, 1):
        x = blocks.deconv(x, WIDTHS[level - 1], use_bias=True, name=f"up{level}_deconv")
        x = blocks.concat([skips[level - 1], x], name=f"up{level}_concat")
        x = _double(x, WIDTHS[level - 1], name=f"up{level}")
    return blocks.pointwise(x, classes, use_bias=True, name="head")


def _double(x, filters, *, name):
    for i in (1, 2):
        x = blocks.relu(blocks.conv(x, filters, use_bias=True, name=f"{name}_conv{i}"), name=f"{name}_relu{i}")
    return x
