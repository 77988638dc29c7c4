"""DeepLab v2 (Chen et al., 2016) on ResNet-101, without the CRF: the third row of LIP-Net's table.

"DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs",
arXiv:1606.00915.
"""

from keras_models import blocks
from keras_models.networks.resnet import RESNET_101, bottleneck, resnet
from keras_models.registry import register
from keras_models.training import methods

RATES = (6, 12, 18, 24)


@register(
    parameters=43_974_800,
    macs=183_286_890_496,
    input_size=(512, 512),
    classes=20,
    multiple=8,
    paper="LIP-Net",
    status="not reproducible",
    reason="44.0M against 48.0M, of which LIP-Net's paper says nothing more",
    recipes=methods.LIPNET,
)
def deeplabv2(image, classes):
    """ResNet-101 dilated to 1/8 of the resolution; ASPP is a sum of four atrous convolutions to the classes."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    *_, x = resnet(x, RESNET_101, bottleneck, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    branches = [blocks.conv(x, classes, dilation=rate, use_bias=True, name=f"aspp_{rate}") for rate in RATES]
    return blocks.bilinear_half_pixel(blocks.add(branches, name="aspp_add"), 8, name="logits_up")
