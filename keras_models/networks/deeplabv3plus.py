"""DeepLabv3+ (Chen et al., 2018), with the modified aligned Xception or ResNet-101 as its backbone.

"Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", arXiv:1802.02611. Convolutions in
ASPP and decoder are separable, as in that paper.
"""

from keras_models import blocks
from keras_models.networks.resnet import RESNET_101, WIDTHS, bottleneck, resnet
from keras_models.registry import register
from keras_models.training import methods

RATES = (6, 12, 18)
HUMAN_PARSING = {"input_size": (512, 512), "classes": 5, "multiple": 16, "paper": "Improved DeepLabv3+"}


@register(
    parameters=41_045_157,
    macs=51_116_548_096,
    status="near",
    reason="41.05M against the 41.06M that the C3 paper cites; its 280G are not those of output stride 16 (206G)",
    recipes=methods.DEEPLAB,
    **HUMAN_PARSING,
)
def deeplabv3plus(image, classes):
    """DeepLabv3+ with Xception-65."""
    return encoder_decoder(image, classes, xception, aspp)


@register(
    parameters=45_684_149,
    macs=57_014_484_992,
    status="near",
    reason="no published figure; separable ASPP and decoder as in the DeepLabv3+ paper",
    recipes=methods.DEEPLAB,
    **HUMAN_PARSING,
)
def deeplabv3plus_resnet101(image, classes):
    """DeepLabv3+ with ResNet-101."""
    return encoder_decoder(image, classes, resnet101, aspp)


def encoder_decoder(image, classes, backbone, pyramid):
    """`backbone`: image -> features at 1/4 and 1/16; `pyramid`: features -> 256 channels."""
    low, x = backbone(blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD))
    x = blocks.bilinear_half_pixel(pyramid(x), 4, name="aspp_up")
    low = blocks.conv_bn_relu(low, 48, 1, name="low")
    x = blocks.concat([x, low], name="decoder_concat")
    for i in (1, 2):
        x = atrous_separable(x, 256, name=f"decoder_{i}")
    x = blocks.pointwise(x, classes, use_bias=True, name="head")
    return blocks.bilinear_half_pixel(x, 4, name="logits_up")


def aspp(x):
    """Atrous spatial pyramid pooling (section 3.1)."""
    x = blocks.concat(aspp_branches(x, RATES), name="aspp_concat")
    return blocks.conv_bn_relu(x, 256, 1, name="aspp")


def aspp_branches(x, rates):
    """A pointwise and three atrous separable convolutions, and the image's mean: 256 channels each."""
    mean = blocks.conv_bn_relu(blocks.global_pool(x, name="aspp_pool"), 256, 1, name="aspp_mean")
    return [
        blocks.conv_bn_relu(x, 256, 1, name="aspp_1"),
        *(atrous_separable(x, 256, dilation=rate, name=f"aspp_{rate}") for rate in rates),
        blocks.bilinear_to(mean, x.shape[1:3], name="aspp_mean_up"),
    ]


def atrous_separable(x, filters, *, dilation=1, name):
    """Depthwise and pointwise convolution, BN and ReLU after each."""
    x = blocks.depthwise_bn_relu(x, dilation=dilation, name=f"{name}_depthwise")
    return blocks.conv_bn_relu(x, filters, 1, name=f"{name}_pointwise")


def resnet101(x, width=1.0, counts=RESNET_101):
    """Features at 1/4 and 1/16; the last stage is dilated instead of strided. `width`: see `xception`."""
    widths = tuple(int(width * each) for each in WIDTHS)
    low, _, _, x = resnet(x, counts, bottleneck, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), widths=widths)
    return low, x


def xception(x, width=1.0, middle=16):
    """Modified aligned Xception-65 (figure 4): features at 1/4 and 1/16; the exit flow's end is dilated.

    `width`: of every block but the stem, as a share of the published one. `middle`: blocks of the middle flow.
    """

    def block(x, *widths, **options):
        return _xception_block(x, tuple(int(width * each) for each in widths), **options)

    x = blocks.conv_bn_relu(x, 32, strides=2, name="entry_1")
    x = blocks.conv_bn_relu(x, 64, name="entry_2")
    x = low = block(x, 128, 128, 128, strides=2, first_relu=False, name="entry_3")
    x = block(x, 256, 256, 256, strides=2, name="entry_4")
    x = block(x, 728, 728, 728, strides=2, name="entry_5")
    for i in range(1, middle + 1):
        x = block(x, 728, 728, 728, name=f"middle_{i}")
    x = blocks.relu(block(x, 728, 1024, 1024, name="exit_1"), name="exit_1_relu")
    for i, filters in enumerate((1536, 1536, 2048), start=2):
        x = blocks.relu(_separable(x, int(width * filters), dilation=2, name=f"exit_{i}"), name=f"exit_{i}_relu")
    return blocks.relu(low, name="entry_3_relu"), x


def _xception_block(x, widths, *, strides=1, first_relu=True, name):
    """Three separable convolutions, the last one strided, around a shortcut."""
    shortcut, y = x, x
    if strides > 1 or x.shape[-1] != widths[-1]:
        shortcut = blocks.conv(x, widths[-1], 1, strides=strides, name=f"{name}_shortcut")
        shortcut = blocks.batch_norm(shortcut, epsilon=1e-5, name=f"{name}_shortcut_bn")
    for i, width in enumerate(widths, start=1):
        if i > 1 or first_relu:
            y = blocks.relu(y, name=f"{name}_{i}_relu")
        y = _separable(y, width, strides=strides if i == len(widths) else 1, name=f"{name}_{i}")
    return blocks.add([y, shortcut], name=f"{name}_add")


def _separable(x, filters, *, strides=1, dilation=1, name):
    """Depthwise and pointwise convolution, BN after each."""
    x = blocks.depthwise(x, strides=strides, dilation=dilation, name=f"{name}_depthwise")
    x = blocks.batch_norm(x, epsilon=1e-5, name=f"{name}_depthwise_bn")
    x = blocks.pointwise(x, filters, name=f"{name}_pointwise")
    return blocks.batch_norm(x, epsilon=1e-5, name=f"{name}_pointwise_bn")
