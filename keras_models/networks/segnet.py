"""SegNet (Badrinarayanan et al., 2015): VGG-16 and its mirror image, with max unpooling.

"SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation", arXiv:1511.00561.
"""

from keras_models import blocks
from keras_models.registry import register
from keras_models.training import methods

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))


@register(
    parameters=29_454_548,
    macs=81_461_772_288,
    input_size=(256, 512),
    classes=20,
    multiple=32,
    paper="C3",
    void=True,
    recipes={
        "c3": methods.CITED["paper"],
        "lipnet": methods.LIPNET["paper"],
        "improved_deeplabv3plus": methods.DEEPLAB["paper"],
    },
)
def segnet(image, classes):
    """Every convolution has a bias, batch normalisation and ReLU, the last one has only the bias."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    sources = []
    for stage, widths in enumerate(ENCODER, start=1):
        for i, width in enumerate(widths, start=1):
            x = blocks.conv_bn_relu(x, width, use_bias=True, name=f"encoder{stage}_{i}")
        sources.append(x)
        x = blocks.max_pool(x, name=f"encoder{stage}_pool")
    for stage, widths in zip((5, 4, 3, 2, 1), DECODER, strict=True):
        x = blocks.max_unpool(x, sources[stage - 1], name=f"decoder{stage}_unpool")
        for i, width in enumerate(widths, start=1):
            x = blocks.conv_bn_relu(x, width, use_bias=True, name=f"decoder{stage}_{i}")
    return blocks.conv(x, classes, use_bias=True, name="head")
