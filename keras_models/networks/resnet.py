"""ResNet (He et al., 2015), the backbone of several networks: "Deep Residual Learning for Image Recognition"."""

from keras_models import blocks

# Blocks in each of the four stages.
RESNET_18 = (2, 2, 2, 2)
RESNET_34 = RESNET_50 = (3, 4, 6, 3)
RESNET_101 = (3, 4, 23, 3)
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # of a bottleneck's output


def resnet(x, counts, block, *, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), widths=WIDTHS, **options):
    """The outputs of the four stages of a normalised image; the first is at 1/4 of its resolution.

    `block` is `basic` or `bottleneck`. A dilated stage's first block is not dilated, as in DRN-A.
    """
    x = blocks.conv_bn_relu(x, 64, 7, strides=2, name="stem")
    x = blocks.max_pool3(x, name="stem_pool")
    stages = []
    for stage, (count, width, stride, dilation) in enumerate(zip(counts, widths, strides, dilations, strict=True), 1):
        for i in range(1, count + 1):
            first = {"strides": stride} if i == 1 else {"dilation": dilation}
            x = block(x, width, **first, **options, name=f"stage{stage}_{i}")
        stages.append(x)
    return stages


def basic(x, filters, *, strides=1, dilation=1, residual=True, convolution=blocks.conv, name):
    """Two 3x3 convolutions. `convolution` has the arguments of `blocks.conv`."""
    y = convolution(x, filters, strides=strides, dilation=dilation, name=f"{name}_conv_1")
    y = blocks.bn_relu(y, name=f"{name}_1")
    y = convolution(y, filters, dilation=dilation, name=f"{name}_conv_2")
    y = blocks.batch_norm(y, epsilon=1e-5, name=f"{name}_2_bn")
    if residual:
        y = blocks.add([y, _shortcut(x, filters, strides, name)], name=f"{name}_add")
    return blocks.relu(y, name=f"{name}_relu")


def bottleneck(x, filters, *, strides=1, dilation=1, convolution=blocks.conv, name):
    """A 3x3 convolution between two pointwise ones. `convolution` has the arguments of `blocks.conv`."""
    y = blocks.conv_bn_relu(x, filters, 1, name=f"{name}_reduce")
    y = convolution(y, filters, strides=strides, dilation=dilation, name=f"{name}_conv")
    y = blocks.bn_relu(y, name=name)
    y = blocks.pointwise(y, EXPANSION * filters, name=f"{name}_expand")
    y = blocks.batch_norm(y, epsilon=1e-5, name=f"{name}_expand_bn")
    shortcut = _shortcut(x, EXPANSION * filters, strides, name)
    return blocks.relu(blocks.add([y, shortcut], name=f"{name}_add"), name=f"{name}_out")


def _shortcut(x, filters, strides, name):
    """The input itself, or projected where the block changes its shape."""
    if strides == 1 and x.shape[-1] == filters:
        return x
    x = blocks.conv(x, filters, 1, strides=strides, name=f"{name}_shortcut")
    return blocks.batch_norm(x, epsilon=1e-5, name=f"{name}_shortcut_bn")
