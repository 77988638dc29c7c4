"""Keras layers that Keras does not have; `blocks.py` builds with them, and a saved network needs them to be read."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops


def pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


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


@keras.saving.register_keras_serializable(package="pocketseg")
class StridedDilatedDepthwiseConv2D(layers.DepthwiseConv2D):
    """A DepthwiseConv2D that is strided and dilated at once, which Keras' own cannot be; zeros spread the kernel."""

    def __init__(self, kernel_size, dilation_rate=1, **kwargs):
        super().__init__(kernel_size, **kwargs)
        self.spread = pair(dilation_rate)

    def dense_kernel(self):
        """The kernel with its zeros, ((k - 1) * dilation + 1) on each side."""
        kernel = self.kernel
        for axis, dilation in enumerate(self.spread):
            zeros = ops.zeros_like(kernel)
            shape = [side * dilation if i == axis else side for i, side in enumerate(kernel.shape)]
            kernel = ops.reshape(ops.stack([kernel] + [zeros] * (dilation - 1), axis=axis + 1), shape)
            kernel = ops.take(kernel, np.arange(shape[axis] - dilation + 1), axis=axis)
        return kernel

    def compute_output_shape(self, input_shape):
        batch, *size, channels = input_shape
        extent = [(k - 1) * d for k, d in zip(self.kernel_size, self.spread, strict=True)]
        size = [(n - e - 1) // s + 1 for n, e, s in zip(size, extent, self.strides, strict=True)]
        return (batch, *size, channels * self.depth_multiplier)

    def call(self, inputs):
        y = ops.depthwise_conv(inputs, self.dense_kernel(), strides=self.strides, padding=self.padding)
        return ops.add(y, self.bias) if self.use_bias else y

    def get_config(self):
        return {**super().get_config(), "dilation_rate": self.spread}


@keras.saving.register_keras_serializable(package="pocketseg")
class GroupedPointwise(layers.Conv2D):
    """A grouped 1x1 convolution, computed as a dense one with a block-diagonal kernel.

    TensorFlow's CPU has no gradient of a grouped convolution. The channel shuffle (group k's channel c becomes channel
    c * groups + k) is an order of the kernel's columns, and costs nothing.
    """

    def __init__(self, filters, kernel_size=1, *, groups, shuffle=False, **kwargs):
        super().__init__(filters, kernel_size, groups=groups, **kwargs)
        self.shuffle = shuffle

    def build(self, input_shape):
        super().build(input_shape)
        self._columns = np.arange(self.filters)
        if self.shuffle:
            self._columns = self._columns.reshape(self.groups, -1).T.reshape(-1)
        rows = np.arange(input_shape[-1]) // (input_shape[-1] // self.groups)
        columns = self._columns // (self.filters // self.groups)
        self._same_group = (rows[:, None] == columns).astype("float32")

    def dense_kernel(self):
        """The kernel (1, 1, inputs, outputs) of the dense convolution that is the same function."""
        kernel = ops.take(ops.tile(self.kernel, (1, 1, self.groups, 1)), self._columns, axis=3)
        return kernel * ops.convert_to_tensor(self._same_group, dtype=kernel.dtype)

    def dense_bias(self):
        """The bias in the order of the dense kernel's outputs."""
        return ops.take(self.bias, self._columns)

    def call(self, inputs):
        y = ops.conv(inputs, self.dense_kernel(), padding="valid", data_format="channels_last")
        return y + self.dense_bias() if self.use_bias else y

    def get_config(self):
        return {**super().get_config(), "shuffle": self.shuffle}


@keras.saving.register_keras_serializable(package="pocketseg")
class MaxUnpooling(layers.Layer):
    """The inverse of 2x2 max pooling (SegNet, ENet): of equal maxima the first, row by row, takes the value."""

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[1])

    def call(self, inputs):
        x, source = inputs
        height, width, channels = x.shape[1:]
        windows = ops.reshape(source, (-1, height, 2, width, 2, channels))
        windows = ops.reshape(ops.transpose(windows, (0, 1, 3, 5, 2, 4)), (-1, height, width, channels, 4))
        place = ops.one_hot(ops.argmax(windows, axis=-1), 4, dtype=x.dtype)
        y = ops.reshape(x[..., None] * place, (-1, height, width, channels, 2, 2))
        return ops.reshape(ops.transpose(y, (0, 1, 4, 2, 5, 3)), (-1, height * 2, width * 2, channels))


@keras.saving.register_keras_serializable(package="pocketseg")
class ChannelPadding(layers.Layer):
    """Appends channels of zeros."""

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def call(self, x):
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.filters - x.shape[-1])))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="pocketseg")
class BilinearUpsampling(layers.Layer):
    """Bilinear upsampling by `factor`, or to `size`, with the corner pixels aligned (PyTorch's UpsamplingBilinear2d).

    Keras' own UpSampling2D aligns the pixels' outer edges instead, which is another function. Two matrix products, one
    for the rows and one for the columns, do it on every backend.
    """

    def __init__(self, factor: int = 2, size: tuple[int, int] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.factor, self.size = factor, size

    def _target(self, height, width) -> tuple[int, int]:
        return tuple(self.size) if self.size else (height * self.factor, width * self.factor)

    def build(self, input_shape):
        target = self._target(*input_shape[1:3])
        self._rows, self._columns = (
            interpolation_matrix(n, to) for n, to in zip(input_shape[1:3], target, strict=True)
        )

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, *self._target(height, width), channels)

    def call(self, x):
        height, width, channels = x.shape[1:]
        rows, columns = (ops.convert_to_tensor(m, dtype=x.dtype) for m in (self._rows, self._columns))
        x = ops.matmul(rows, ops.reshape(x, (-1, height, width * channels)))
        x = ops.matmul(columns, ops.reshape(x, (-1, width, channels)))
        return ops.reshape(x, (-1, *self._target(height, width), channels))

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "size": self.size}


@keras.saving.register_keras_serializable(package="pocketseg")
class Doubt(layers.Layer):
    """1 - the greatest class probability of logits (batch, height, width, classes), as one channel.

    One channel is the foreground's logit, and its two classes' probabilities are sigmoids.
    """

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def call(self, logits):
        if logits.shape[-1] == 1:
            return ops.sigmoid(-ops.abs(logits))
        return 1 - ops.max(ops.softmax(logits, axis=-1), axis=-1, keepdims=True)


@keras.saving.register_keras_serializable(package="pocketseg")
class BilinearDeconvolution(layers.UpSampling2D):
    """Half-pixel bilinear upsampling in the place of a transposed convolution per channel with frozen bilinear weights.

    It is the same function but for the image's border, where the transposed convolution mixes in zeros. The papers
    count it as the convolution that their code runs; so does `complexity`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(size, interpolation=kwargs.pop("interpolation", "bilinear"), **kwargs)


@keras.saving.register_keras_serializable(package="pocketseg")
class Idle(layers.Layer):
    """Passes its input on, and holds weights that no image meets: the published count has them, the function has not.

    `shapes` are those of the weights.
    """

    def __init__(self, shapes, **kwargs):
        super().__init__(**kwargs)
        self.shapes = shapes

    def build(self, input_shape):
        for i, shape in enumerate(self.shapes):
            self.add_weight(shape=tuple(shape), initializer="zeros", name=f"idle_{i}")

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {**super().get_config(), "shapes": self.shapes}


@keras.saving.register_keras_serializable(package="pocketseg")
class Auxiliary(layers.Layer):
    """Passes the first of its inputs on."""

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def call(self, inputs):
        return inputs[0]


def interpolation_matrix(size: int, target: int) -> np.ndarray:
    """(target, size) float32: row i holds the two weights that make target pixel i, corners aligned."""
    position = np.linspace(0, size - 1, target)
    low = np.minimum(position.astype(int), max(size - 2, 0))
    matrix = np.zeros((target, size), "float32")
    rows = np.arange(target)
    matrix[rows, low] += 1 - (position - low)
    matrix[rows, np.minimum(low + 1, size - 1)] += position - low
    return matrix
