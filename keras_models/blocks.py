"""Blocks shared by the networks. A block is a function: tensor in, tensor out, `name` last.

Convolutions pad symmetrically, (k - 1) / 2 * dilation on each side, as the authors' PyTorch code does; Keras' own
`padding="same"` pads a strided convolution on the bottom and right only, which is another function.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

# Channel statistics (RGB, 0-255) of the portrait networks' training set, and ImageNet's in the same units.
PORTRAIT_MEAN = (126.91212, 111.25247, 102.890434)
PORTRAIT_STD = (66.355705, 62.82138, 62.93292)


def normalise(image, mean, std, *, name="normalise"):
    """(image - mean) / std per channel, for RGB 0-255."""
    mean, std = np.asarray(mean, "float64"), np.asarray(std, "float64")
    return layers.Rescaling((1 / std).tolist(), (-mean / std).tolist(), name=name)(image)


def pad(x, amount: tuple[int, int], *, name):
    """Zeros on both sides of height and width; nothing when both amounts are 0."""
    return layers.ZeroPadding2D(amount, name=name)(x) if any(amount) else x


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _padding(x, kernel_size, strides, dilation, name):
    """`x` ready for a convolution with symmetric padding, and Keras' word for the padding that is left to do."""
    amount = tuple((k - 1) // 2 * dilation for k in kernel_size)
    if strides == 1:
        return x, "same" if any(amount) else "valid"
    return pad(x, amount, name=f"{name}_pad"), "valid"


def conv(x, filters, kernel_size=3, *, strides=1, dilation=1, groups=1, use_bias=False, name):
    """A convolution with odd kernel and symmetric padding; no bias unless asked for."""
    kernel_size = _pair(kernel_size)
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
    kernel_size = _pair(kernel_size)
    x, padding = _padding(x, kernel_size, strides, dilation, name)
    layer = RowDepthwiseConv2D if kernel_size[0] == 1 < kernel_size[1] else layers.DepthwiseConv2D
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


@keras.saving.register_keras_serializable(package="pocketseg")
class RowDepthwiseConv2D(layers.DepthwiseConv2D):
    """A DepthwiseConv2D whose kernel is one row, computed as a column on the transposed image.

    It is the same function with the same weights. TensorFlow's CPU gradient of a 1xk depthwise convolution takes about
    ten times as long as that of a kx1 one, and half of a C3 network's training time with it.
    """

    def call(self, inputs):
        x = ops.transpose(inputs, (0, 2, 1, 3))
        x = ops.depthwise_conv(
            x,
            ops.transpose(self.kernel, (1, 0, 2, 3)),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.add(x, self.bias) if self.use_bias else x


def pointwise(x, filters, *, use_bias=False, name):
    """A 1x1 convolution."""
    return conv(x, filters, 1, use_bias=use_bias, name=name)


def batch_norm(x, *, epsilon=1e-3, name):
    """Batch normalisation with PyTorch's default momentum, as all the authors' code has it."""
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def prelu(x, *, name):
    """PReLU with one slope per channel, from 0.25."""
    return layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)(x)


def bn_prelu(x, *, epsilon=1e-3, name):
    """Batch normalisation and PReLU: the BR of the C3 and ESPNet papers."""
    return prelu(batch_norm(x, epsilon=epsilon, name=f"{name}_bn"), name=f"{name}_prelu")


def conv_bn_prelu(x, filters, kernel_size=3, *, strides=1, name):
    """Convolution, batch normalisation, PReLU: the CBR of the C3 and ESPNet papers."""
    return bn_prelu(conv(x, filters, kernel_size, strides=strides, name=f"{name}_conv"), name=name)


def average_pool(x, *, name):
    """2x2 average pooling with stride 2."""
    return layers.AveragePooling2D(2, name=name)(x)


def concat(tensors, *, name):
    """Concatenation over the channels."""
    return layers.Concatenate(name=name)(tensors)


def add(tensors, *, name):
    """Element-wise sum."""
    return layers.Add(name=name)(tensors)


@keras.saving.register_keras_serializable(package="pocketseg")
class BilinearUpsampling(layers.Layer):
    """Bilinear upsampling by `factor` with the corner pixels aligned (PyTorch's UpsamplingBilinear2d).

    Keras' own UpSampling2D aligns the pixels' outer edges instead, which is another function. Two matrix products, one
    for the rows and one for the columns, do it on every backend.
    """

    def __init__(self, factor: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self._rows, self._columns = (interpolation_matrix(n, n * self.factor) for n in input_shape[1:3])

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height * self.factor, width * self.factor, channels

    def call(self, x):
        height, width, channels = x.shape[1:]
        rows, columns = (ops.convert_to_tensor(m, dtype=x.dtype) for m in (self._rows, self._columns))
        x = ops.matmul(rows, ops.reshape(x, (-1, height, width * channels)))
        x = ops.matmul(columns, ops.reshape(x, (-1, width, channels)))
        return ops.reshape(x, (-1, height * self.factor, width * self.factor, channels))

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def interpolation_matrix(size: int, target: int) -> np.ndarray:
    """(target, size) float32: row i holds the two weights that make target pixel i, corners aligned."""
    position = np.linspace(0, size - 1, target)
    low = np.minimum(position.astype(int), max(size - 2, 0))
    matrix = np.zeros((target, size), "float32")
    rows = np.arange(target)
    matrix[rows, low] += 1 - (position - low)
    matrix[rows, np.minimum(low + 1, size - 1)] += position - low
    return matrix


def bilinear(x, factor: int, *, name):
    """Bilinear upsampling, corners aligned."""
    return BilinearUpsampling(factor, name=name)(x)


def c3(x, filters, dilation, *, name):
    """The concentrated-comprehensive convolution block of one dilation (C3 paper, section 3; CCC is the same block).

    The concentration stage gathers each dilated cell with two asymmetric depthwise convolutions, so that the dilated
    depthwise convolution after it skips no pixel; the comprehensive stage is that convolution and a pointwise one.
    A dilation of 1 skips nothing and needs no concentration.
    """
    if dilation > 1:
        k = 2 * dilation - 1
        x = depthwise(x, (k, 1), name=f"{name}_vertical")
        x = bn_prelu(x, epsilon=1e-5, name=f"{name}_vertical")
        x = depthwise(x, (1, k), name=f"{name}_horizontal")
        x = batch_norm(x, epsilon=1e-5, name=f"{name}_horizontal_bn")
    x = depthwise(x, 3, dilation=dilation, name=f"{name}_depthwise")
    return pointwise(x, filters, name=f"{name}_pointwise")


def c3_module(x, filters, dilations, *, strides=1, residual=False, name):
    """Reduce, one C3 block per dilation in parallel, concatenate, (add the input,) BN and PReLU.

    With `strides=2` the reduction is a 3x3 convolution, otherwise a pointwise one; neither has an activation.
    """
    width = filters // len(dilations)
    reduced = conv(x, width, 3 if strides == 2 else 1, strides=strides, name=f"{name}_reduce")
    widths = [filters - width * (len(dilations) - 1)] + [width] * (len(dilations) - 1)
    branches = [
        c3(reduced, n, dilation, name=f"{name}_c3_{branch}")
        for branch, (n, dilation) in enumerate(zip(widths, dilations, strict=True), start=1)
    ]
    y = concat(branches, name=f"{name}_concat")
    if residual:
        y = add([y, x], name=f"{name}_add")
    return bn_prelu(y, name=name)
