"""Blocks shared by the networks. A block is a function: tensor in, tensor out, `name` last.

Convolutions pad symmetrically, (k - 1) / 2 * dilation on each side, as the authors' PyTorch code does; Keras' own
`padding="same"` pads a strided convolution on the bottom and right only, which is another function.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from keras_models.layers import (
    Auxiliary,
    BilinearUpsampling,
    ChannelPadding,
    Doubt,
    GroupedPointwise,
    MaxUnpooling,
    RowDepthwiseConv2D,
    StridedDilatedDepthwiseConv2D,
    pair,
)

# Channel statistics (RGB, 0-255) of the portrait networks' training set, Cityscapes' (C3 paper's code) and ImageNet's.
PORTRAIT_MEAN = (126.91212, 111.25247, 102.890434)
PORTRAIT_STD = (66.355705, 62.82138, 62.93292)
CITYSCAPES_MEAN = (73.1584, 82.908936, 72.39231)
CITYSCAPES_STD = (44.914833, 46.152893, 45.31922)
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def normalise(image, mean, std, *, name="normalise"):
    """(image - mean) / std per channel, for RGB 0-255."""
    mean, std = np.asarray(mean, "float64"), np.asarray(std, "float64")
    return layers.Rescaling((1 / std).tolist(), (-mean / std).tolist(), name=name)(image)


def pad(x, amount: tuple[int, int], *, name):
    """Zeros on both sides of height and width; nothing when both amounts are 0."""
    return layers.ZeroPadding2D(amount, name=name)(x) if any(amount) else x


def _padding(x, kernel_size, strides, dilation, name):
    """`x` ready for a convolution with symmetric padding, and Keras' word for the padding that is left to do."""
    amount = tuple((k - 1) // 2 * dilation for k in kernel_size)
    if strides == 1:
        return x, "valid" if kernel_size == (1, 1) else "same"
    return pad(x, amount, name=f"{name}_pad"), "valid"


def conv(x, filters, kernel_size=3, *, strides=1, dilation=1, groups=1, use_bias=False, name):
    """A convolution with symmetric padding, its kernel odd where it is strided; no bias unless asked for."""
    kernel_size = pair(kernel_size)
    x, padding = _padding(x, kernel_size, strides, dilation, name)
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def depthwise(x, kernel_size=3, *, strides=1, dilation=1, use_bias=False, name):
    """One filter per channel, odd kernel, symmetric padding; no bias unless asked for."""
    kernel_size = pair(kernel_size)
    x, padding = _padding(x, kernel_size, strides, dilation, name)
    layer = RowDepthwiseConv2D if kernel_size[0] == 1 < kernel_size[1] else layers.DepthwiseConv2D
    if strides > 1 < dilation:
        layer = StridedDilatedDepthwiseConv2D
    # Keras counts every channel into a depthwise kernel's fan-in; this is the variance that one filter needs.
    initializer = keras.initializers.RandomNormal(stddev=(kernel_size[0] * kernel_size[1]) ** -0.5)
    return layer(
        kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation,
        use_bias=use_bias,
        depthwise_initializer=initializer,
        name=name,
    )(x)


def pointwise(x, filters, *, use_bias=False, name):
    """A 1x1 convolution."""
    return conv(x, filters, 1, use_bias=use_bias, name=name)


def grouped_pointwise(x, filters, groups, *, shuffle=False, use_bias=False, name):
    """A 1x1 convolution in groups, with ShuffleNet's channel shuffle after it on request; no bias unless asked for."""
    return GroupedPointwise(
        filters, groups=groups, shuffle=shuffle, use_bias=use_bias, kernel_initializer="he_normal", name=name
    )(x)


def separable(x, filters, kernel_size=3, *, strides=1, dilation=1, name):
    """A depthwise and a pointwise convolution with nothing between them."""
    x = depthwise(x, kernel_size, strides=strides, dilation=dilation, name=f"{name}_depthwise")
    return pointwise(x, filters, name=f"{name}_pointwise")


def deconv(x, filters, kernel_size=2, *, strides=2, use_bias=False, name):
    """A transposed convolution whose output is `strides` times the input: PyTorch's with the padding for that.

    Where kernel and stride leave one row and column too many, it is the first ones that go.
    """
    excess = kernel_size - strides
    x = layers.Conv2DTranspose(
        filters,
        kernel_size,
        strides=strides,
        padding="valid" if excess % 2 else "same",
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    if excess % 2:
        before = (excess + 1) // 2
        crop = (before, excess - before)
        x = layers.Cropping2D((crop, crop), name=f"{name}_crop")(x)
    return x


def batch_norm(x, *, epsilon=1e-3, name):
    """Batch normalisation with PyTorch's default momentum, as all the authors' code has it."""
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def prelu(x, *, name):
    """PReLU with one slope per channel, from 0.25."""
    return layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)(x)


def bn_prelu(x, *, epsilon=1e-3, name):
    """Batch normalisation and PReLU: the BR of the C3 and ESPNet papers."""
    return prelu(batch_norm(x, epsilon=epsilon, name=f"{name}_bn"), name=f"{name}_prelu")


def conv_bn_prelu(x, filters, kernel_size=3, *, strides=1, use_bias=False, name):
    """Convolution, batch normalisation, PReLU: the CBR of the C3 and ESPNet papers."""
    x = conv(x, filters, kernel_size, strides=strides, use_bias=use_bias, name=f"{name}_conv")
    return bn_prelu(x, name=name)


def relu(x, *, name):
    """ReLU."""
    return layers.ReLU(name=name)(x)


def bn_relu(x, *, epsilon=1e-5, name):
    """Batch normalisation and ReLU."""
    return relu(batch_norm(x, epsilon=epsilon, name=f"{name}_bn"), name=f"{name}_relu")


def conv_bn_relu(x, filters, kernel_size=3, *, strides=1, dilation=1, use_bias=False, epsilon=1e-5, name):
    """Convolution, batch normalisation, ReLU."""
    x = conv(x, filters, kernel_size, strides=strides, dilation=dilation, use_bias=use_bias, name=f"{name}_conv")
    return bn_relu(x, epsilon=epsilon, name=name)


def depthwise_bn_relu(x, kernel_size=3, *, strides=1, dilation=1, epsilon=1e-5, name):
    """Depthwise convolution, batch normalisation, ReLU."""
    x = depthwise(x, kernel_size, strides=strides, dilation=dilation, name=f"{name}_conv")
    return bn_relu(x, epsilon=epsilon, name=name)


def average_pool(x, size=2, *, name):
    """Average pooling over squares of `size` that do not overlap."""
    return layers.AveragePooling2D(size, name=name)(x)


def average_pool3(x, *, name):
    """3x3 average pooling with stride 2; the zeros around the image count in the mean, as in PyTorch."""
    return layers.AveragePooling2D(3, strides=2, name=name)(pad(x, (1, 1), name=f"{name}_pad"))


def max_pool(x, *, name):
    """2x2 max pooling with stride 2."""
    return layers.MaxPooling2D(2, name=name)(x)


def max_pool3(x, *, name):
    """3x3 max pooling with stride 2 of a tensor without negative values, with zeros around it."""
    return layers.MaxPooling2D(3, strides=2, name=name)(pad(x, (1, 1), name=f"{name}_pad"))


def max_unpool(x, source, *, name):
    """Each value of `x` at the place of the maximum in its 2x2 window of `source`, zeros elsewhere."""
    return MaxUnpooling(name=name)([x, source])


def global_pool(x, *, name):
    """The mean over height and width, which stay as 1x1."""
    return layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)


def activation(x, function, *, name):
    """An activation by its Keras name (sigmoid, hard_sigmoid, hard_silu, ...)."""
    return layers.Activation(function, name=name)(x)


def squeeze_excite(x, width, *, gate="sigmoid", name):
    """Squeeze-and-excitation: global mean, to `width` channels, ReLU, back, `gate`, times the input; with biases."""
    y = global_pool(x, name=f"{name}_squeeze")
    y = relu(pointwise(y, width, use_bias=True, name=f"{name}_reduce"), name=f"{name}_relu")
    y = pointwise(y, x.shape[-1], use_bias=True, name=f"{name}_expand")
    return multiply([x, activation(y, gate, name=f"{name}_gate")], name=f"{name}_scale")


def concat(tensors, *, name):
    """Concatenation over the channels."""
    return layers.Concatenate(name=name)(tensors)


def add(tensors, *, name):
    """Element-wise sum."""
    return layers.Add(name=name)(tensors)


def pad_channels(x, filters, *, name):
    """`x` with channels of zeros after its own, `filters` in all."""
    return ChannelPadding(filters, name=name)(x)


def multiply(tensors, *, name):
    """Element-wise product."""
    return layers.Multiply(name=name)(tensors)


def bilinear(x, factor: int, *, name):
    """Bilinear upsampling, corners aligned."""
    return BilinearUpsampling(factor, name=name)(x)


def bilinear_to(x, size: tuple[int, int], *, name):
    """Bilinear upsampling to `size` (height, width), corners aligned."""
    return BilinearUpsampling(size=tuple(size), name=name)(x)


def bilinear_half_pixel(x, factor: int, *, name):
    """Bilinear upsampling with the pixels' outer edges aligned, as TensorFlow and PyTorch's align_corners=False."""
    return layers.UpSampling2D(factor, interpolation="bilinear", name=name)(x)


def attention_gate(features, prediction, *, name):
    """`features` * doubt + `prediction`: detail goes where the coarser prediction is not sure (EOAM; SINet's
    information blocking). Both tensors have one channel per class; doubt is 1 minus the greatest probability.
    """
    doubt = Doubt(name=f"{name}_doubt")(prediction)
    return add([multiply([features, doubt], name=f"{name}_gate"), prediction], name=f"{name}_add")


def auxiliary(logits, *others, name="auxiliary"):
    """`logits`, with other outputs kept in the model for the losses of a training: its layer `name` has them as input.

    The model has one output for whoever uses it, and the parameters that its paper counts.
    """
    return Auxiliary(name=name)([logits, *others])


def c3(x, filters, dilation, structure="C", *, name):
    """The concentrated-comprehensive convolution block of one dilation (C3 paper, figure 3; CCC is the same block).

    It takes the place of any dilated 3x3 convolution. The concentration stage gathers each dilated cell, so that the
    dilated depthwise convolution after it skips no pixel; the comprehensive stage is that convolution and a pointwise
    one. A dilation of 1 skips nothing and needs no concentration. `structure`, as in figure 3 and table 3:

    A   no concentration stage
    B   one depthwise convolution
    C   two asymmetric depthwise convolutions with BN and PReLU between them: the block as proposed (dw-AsymNL)
    C-  the same without BN and PReLU (dw-Asym)
    """
    if structure not in ("A", "B", "C", "C-"):
        raise ValueError(f"A C3 block's structure is A, B, C or C-. Received: {structure!r}")
    if dilation > 1 and structure != "A":
        k = 2 * dilation - 1
        if structure == "B":
            x = depthwise(x, k, name=f"{name}_concentrate")
            x = batch_norm(x, epsilon=1e-5, name=f"{name}_concentrate_bn")
        else:
            x = depthwise(x, (k, 1), name=f"{name}_vertical")
            if structure == "C":
                x = bn_prelu(x, epsilon=1e-5, name=f"{name}_vertical")
            x = depthwise(x, (1, k), name=f"{name}_horizontal")
            x = batch_norm(x, epsilon=1e-5, name=f"{name}_horizontal_bn")
    x = depthwise(x, 3, dilation=dilation, name=f"{name}_depthwise")
    return pointwise(x, filters, name=f"{name}_pointwise")


def c3_module(x, filters, dilations, structure="C", *, strides=1, residual=False, name):
    """Reduce, one C3 block per dilation in parallel, concatenate, (add the input,) BN and PReLU.

    With `strides=2` the reduction is a 3x3 convolution, otherwise a pointwise one; neither has an activation. A module
    with fewer filters than dilations, as a decoder of two classes has, keeps the first dilations only.
    """
    dilations = dilations[:filters]
    width = filters // len(dilations)
    reduced = conv(x, width, 3 if strides == 2 else 1, strides=strides, name=f"{name}_reduce")
    widths = [filters - width * (len(dilations) - 1)] + [width] * (len(dilations) - 1)
    branches = [
        c3(reduced, n, dilation, structure, name=f"{name}_c3_{branch}")
        for branch, (n, dilation) in enumerate(zip(widths, dilations, strict=True), start=1)
    ]
    y = concat(branches, name=f"{name}_concat")
    if residual:
        y = add([y, x], name=f"{name}_add")
    return bn_prelu(y, name=name)


def inverted_residual(
    x, filters, expansion, kernel_size=3, *, strides=1, dilation=1, squeeze=0, function="relu", epsilon=1e-5, name
):
    """MobileNetV2's block: expand to `expansion` channels, depthwise, (squeeze-excite,) project without activation.

    `squeeze` is the width of MobileNetV3's squeeze-and-excitation, 0 for none; `function` is the activation. The input
    is added where the shapes agree.
    """

    def bn_act(y, step):
        y = batch_norm(y, epsilon=epsilon, name=f"{name}_{step}_bn")
        return (
            relu(y, name=f"{name}_{step}_relu")
            if function == "relu"
            else activation(y, function, name=f"{name}_{step}_{function}")
        )

    y = bn_act(pointwise(x, expansion, name=f"{name}_expand"), "expand")
    y = bn_act(depthwise(y, kernel_size, strides=strides, dilation=dilation, name=f"{name}_depthwise"), "depthwise")
    if squeeze:
        y = squeeze_excite(y, squeeze, gate="hard_sigmoid", name=f"{name}_se")
    y = batch_norm(pointwise(y, filters, name=f"{name}_project"), epsilon=epsilon, name=f"{name}_project_bn")
    return add([x, y], name=f"{name}_add") if strides == 1 and x.shape[-1] == filters else y
