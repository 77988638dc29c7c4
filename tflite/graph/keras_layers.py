"""The layers and operations of Keras that the passes know: what each does, as nodes to be.

A reader takes a layer, the shapes of its inputs and that of its output, and gives the steps, or None for a
configuration that it does not know. So what is not known goes through as Keras computes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from tflite.graph.calls import Call, One, Step, as_keras
from tflite.graph.representation import NO_PADDING, same_padding


def steps(call: Call, shapes: list[tuple[int, ...]]) -> list[Step] | None:
    """What a call does in operations that the passes know; [] for nothing, None where they do not know it."""
    import keras

    operation = call.operation
    reader = _operations().get(type(operation))
    if reader is not None and call.real:
        return reader(call)
    reader = _readers().get(type(operation))
    extra = {k: v for k, v in call.arguments.kwargs.items() if v is not None and (k, v) != ("training", False)}
    tensors = keras.tree.flatten(call.arguments.args)
    plain = not extra and len(tensors) == len(call.inputs) and len(call.outputs) == 1 and shapes
    if reader is None or not plain or not call.real or getattr(operation, "quantization_mode", None):
        return None
    if getattr(operation, "data_format", None) == "channels_first":
        return None
    return reader(operation, shapes, call.shapes[0])


def _activation(function, shape) -> list[Step]:
    """What follows a layer that has an `activation`: a function of Keras, another one, or a layer."""
    import keras

    known = _functions().get(function)
    if known == "linear":
        return []
    if known:
        slope = 0.2 if known == "leaky_relu" else None  # as keras.activations.leaky_relu has it
        return [Step("activation", {"function": known, "slope": slope}, {}, known)]
    if type(function) in _readers():
        steps = _readers()[type(function)](function, [shape], shape)
        if steps is not None:
            for step in steps:
                step.suffix = step.suffix or function.name
            return steps
    alone = Call(function, One(), (0,), (1,), (shape,))
    step = as_keras(alone, 0)
    step.suffix = getattr(function, "name", getattr(function, "__name__", type(function).__name__))
    if not isinstance(function, keras.layers.Layer):
        step.attributes = {"call": lambda tensors, _: function(tensors[0])}
    return [step]


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _window(layer, shape, kernel, dilation=(1, 1)) -> dict:
    """strides and padding of a layer that slides a window."""
    strides = _pair(layer.strides)
    same = layer.padding == "same"
    padding = same_padding(shape[:2], _pair(kernel), strides, dilation) if same else NO_PADDING
    return {"strides": strides, "padding": padding}


def _bias(layer, channels: int):
    return layer.bias if layer.use_bias else np.zeros(channels)


def _read_conv(layer, shapes, output):
    dilation = _pair(layer.dilation_rate)
    attributes = _window(layer, shapes[0], layer.kernel_size, dilation) | {"dilation": dilation, "groups": layer.groups}
    weights = {"kernel": layer.kernel, "bias": _bias(layer, layer.filters)}
    return [Step("conv", attributes, weights), *_activation(layer.activation, output)]


def _read_depthwise(layer, shapes, output):
    dilation = _pair(layer.dilation_rate)
    attributes = _window(layer, shapes[0], layer.kernel_size, dilation) | {"dilation": dilation}
    weights = {"kernel": layer.kernel, "bias": _bias(layer, output[-1])}
    return [Step("depthwise", attributes, weights), *_activation(layer.activation, output)]


def _read_separable(layer, shapes, output):
    dilation = _pair(layer.dilation_rate)
    attributes = _window(layer, shapes[0], layer.kernel_size, dilation) | {"dilation": dilation}
    kernel = np.asarray(layer.depthwise_kernel)
    channels = kernel.shape[2] * kernel.shape[3]
    weights = {"kernel": kernel, "bias": np.zeros(channels)}
    first = Step("depthwise", attributes, weights, "depthwise", (*output[:2], channels))
    second = Step("conv", {}, {"kernel": layer.pointwise_kernel, "bias": _bias(layer, layer.filters)})
    return [first, second, *_activation(layer.activation, output)]


def _read_grouped_pointwise(layer, shapes, output):
    bias = layer.dense_bias() if layer.use_bias else np.zeros(layer.filters)
    return [Step("conv", {}, {"kernel": layer.dense_kernel(), "bias": bias})]


def _read_strided_dilated(layer, shapes, output):
    kernel = np.asarray(layer.dense_kernel())
    weights = {"kernel": kernel, "bias": _bias(layer, output[-1])}
    return [Step("depthwise", _window(layer, shapes[0], kernel.shape[:2]), weights)]


def _read_transposed(layer, shapes, output):
    if layer.output_padding is not None or _pair(layer.dilation_rate) != (1, 1):
        return None
    attributes = {"strides": _pair(layer.strides), "same": layer.padding == "same"}
    weights = {"kernel": layer.kernel, "bias": _bias(layer, layer.filters)}
    return [Step("transposed_conv", attributes, weights), *_activation(layer.activation, output)]


def _read_dense(layer, shapes, output):
    weights = {"kernel": layer.kernel, "bias": _bias(layer, layer.units)}
    after = _activation(layer.activation, output)
    if len(output) == 3:  # of every pixel
        return [Step("conv", {}, weights | {"kernel": np.asarray(layer.kernel)[None, None]}), *after]
    return [Step("dense", {}, weights), *after] if len(output) == 1 else None


def _read_batch_norm(layer, shapes, output):
    if layer.axis not in (-1, len(output)):
        return None
    scale = 1 / np.sqrt(np.asarray(layer.moving_variance, "float64") + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma, "float64")
    offset = -np.asarray(layer.moving_mean, "float64") * scale
    if layer.center:
        offset = offset + np.asarray(layer.beta, "float64")
    return [Step("affine", {}, {"scale": scale, "offset": offset})]


def _affine(scale, offset, shape) -> list[Step] | None:
    """x * scale + offset with one number of each, or one per channel; None for other shapes."""
    weights = {"scale": np.asarray(scale, "float64"), "offset": np.asarray(offset, "float64")}
    fits = [v.size == 1 or v.size == v.shape[-1] == shape[-1] for v in weights.values()] if shape else [False]
    if not all(fits):
        return None
    return [Step("affine", {}, {k: np.broadcast_to(v.reshape(-1), shape[-1:]).copy() for k, v in weights.items()})]


def _read_normalization(layer, shapes, output):
    if layer.invert or layer.mean is None:
        return None
    deviation = np.maximum(np.sqrt(np.asarray(layer.variance, "float64")), 1e-7)  # Keras' epsilon
    return _affine(1 / deviation, -np.asarray(layer.mean, "float64") / deviation, output)


def _read_prelu(layer, shapes, output):
    slope = np.asarray(layer.alpha, "float64")
    if slope.size != slope.shape[-1] or len(output) != 3:  # one per pixel
        return None
    return [Step("prelu", {}, {"slope": np.broadcast_to(slope.reshape(-1), output[-1:]).copy()})]


def _read_relu(layer, shapes, output):
    slope, top, threshold = float(layer.negative_slope or 0), layer.max_value, float(layer.threshold or 0)
    if threshold or top not in (None, 6) or (slope and top is not None):
        return None
    return [_function("leaky_relu" if slope else "relu" if top is None else "relu6", slope)]


def _function(function: str, slope: float | None = None) -> Step:
    return Step("activation", {"function": function, "slope": slope if function == "leaky_relu" else None}, {})


def _read_leaky(layer, shapes, output):
    slope = float(layer.negative_slope)
    return [_function("leaky_relu" if slope else "relu", slope)]


def _read_activation(layer, shapes, output):
    known = _functions().get(layer.activation)
    if known == "linear":
        return []
    return [_function(known, 0.2)] if known else None


def _read_softmax(layer, shapes, output):
    return [_function("softmax")] if layer.axis in (-1, len(output)) else None


def _read_resize(layer, shapes, output):
    kept = not any(getattr(layer, name, False) for name in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"))
    if layer.interpolation not in ("bilinear", "nearest") or not kept or len(shapes[0]) != 3:
        return None
    return [Step("resize", {"method": layer.interpolation}, {})]


def _read_concat(layer, shapes, output):
    axis = layer.axis % (len(output) + 1) - 1
    if axis < 0 or len({len(shape) for shape in shapes}) > 1:
        return None
    return [Step("concat", {"axis": axis}, {})] if len(shapes) > 1 else []


def _reads_join(op: str, mean: bool = False):
    def read_join(layer, shapes, output):
        if len({len(shape) for shape in shapes}) > 1 or len(shapes) < 2 or (op == "subtract" and len(shapes) != 2):
            return None
        if not mean:
            return [Step(op, {}, {})]
        return [Step(op, {}, {}, "sum"), *_affine(1 / len(shapes), 0, output)]

    return read_join


def _read_pool(op: str):
    def read_pool(layer, shapes, output):
        size = _pair(layer.pool_size)
        return [Step(op, {"size": size, **_window(layer, shapes[0], size)}, {})]

    return read_pool


def _read_mean(layer, shapes, output):
    return [Step("mean", {"flat": not layer.keepdims}, {})]


def _nothing(layer, shapes, output):
    return []


def _one(op: str, attributes: Callable | None = None):
    return lambda layer, shapes, output: [Step(op, attributes(layer) if attributes else {}, {})]


@functools.cache
def _readers() -> dict[type, Callable]:
    """Class of a layer -> its reader. A subclass has a call of its own, so it is not here."""
    from keras import layers

    from keras_models import layers as own

    return {
        layers.Conv2D: _read_conv,
        layers.DepthwiseConv2D: _read_depthwise,
        layers.SeparableConv2D: _read_separable,
        layers.Conv2DTranspose: _read_transposed,
        layers.Dense: _read_dense,
        layers.BatchNormalization: _read_batch_norm,
        layers.Rescaling: lambda layer, shapes, output: _affine(layer.scale, layer.offset, output),
        layers.Normalization: _read_normalization,
        layers.PReLU: _read_prelu,
        layers.ReLU: _read_relu,
        layers.LeakyReLU: _read_leaky,
        layers.Activation: _read_activation,
        layers.Softmax: _read_softmax,
        layers.Add: _reads_join("add"),
        layers.Subtract: _reads_join("subtract"),
        layers.Multiply: _reads_join("multiply"),
        layers.Maximum: _reads_join("maximum"),
        layers.Average: _reads_join("add", mean=True),
        layers.Concatenate: _read_concat,
        layers.Cropping2D: _one("crop", lambda layer: {"amount": tuple(map(tuple, layer.cropping))}),
        layers.ZeroPadding2D: _one("pad", lambda layer: {"padding": tuple(map(tuple, layer.padding))}),
        layers.AveragePooling2D: _read_pool("average_pool"),
        layers.MaxPooling2D: _read_pool("max_pool"),
        layers.GlobalAveragePooling2D: _read_mean,
        layers.UpSampling2D: _read_resize,
        layers.Resizing: _read_resize,
        layers.Reshape: _one("reshape"),
        layers.Flatten: _one("reshape"),
        layers.Permute: _one("transpose", lambda layer: {"permutation": tuple(layer.dims)}),
        **dict.fromkeys(
            (
                layers.Dropout,
                layers.SpatialDropout2D,
                layers.GaussianNoise,
                layers.GaussianDropout,
                layers.AlphaDropout,
                layers.ActivityRegularization,
                layers.Identity,
            ),
            _nothing,
        ),
        own.RowDepthwiseConv2D: _read_depthwise,
        own.StridedDilatedDepthwiseConv2D: _read_strided_dilated,
        own.GroupedPointwise: _read_grouped_pointwise,
        own.BilinearDeconvolution: _read_resize,
        own.BilinearUpsampling: _one("resize", lambda _: {"method": "bilinear", "corners": True}),
        own.ChannelPadding: _one("pad_channels"),
        own.MaxUnpooling: _one("max_unpool"),
        own.Doubt: _one("doubt"),
        own.Auxiliary: _nothing,
        own.Idle: _nothing,
    }


@functools.cache
def _functions() -> dict[Callable, str]:
    """Keras' own activation functions by what they are called in a node; another function may have the same name."""
    from keras import activations

    names = ("relu", "relu6", "leaky_relu", "sigmoid", "tanh", "softmax", "hard_sigmoid", "hard_silu", "linear")
    return {getattr(activations, name): name for name in names}


@functools.cache
def _operations() -> dict[type, Callable]:
    """Class of an operation of `keras.ops` -> function(call) -> steps or None."""
    from keras.src.ops import nn, numpy

    def arithmetic(op: str, affine: Callable):
        def read_arithmetic(call: Call):
            args = call.arguments.args
            tensors = call.arguments.keras_tensors
            if call.arguments.kwargs or len(args) != 2:
                return None
            if len(tensors) == 2:
                same = len(tensors[0].shape) == len(tensors[1].shape) and op != "divide"
                return [Step(op, {}, {})] if same else None
            left = args[0] is tensors[0]
            other = np.asarray(args[1] if left else args[0], "float64")
            if call.shapes[0] != tuple(tensors[0].shape[1:]):  # the other one is the larger
                return None
            coefficients = affine(other, left)
            return None if coefficients is None else _affine(*coefficients, call.shapes[0])

        return read_arithmetic

    return {
        numpy.Add: arithmetic("add", lambda c, _: (1, c)),
        numpy.Subtract: arithmetic("subtract", lambda c, left: (1, -c) if left else (-1, c)),
        numpy.Multiply: arithmetic("multiply", lambda c, _: (c, 0)),
        numpy.TrueDivide: arithmetic("divide", lambda c, left: (1 / c, 0) if left and np.all(c) else None),
        numpy.Divide: arithmetic("divide", lambda c, left: (1 / c, 0) if left and np.all(c) else None),
        nn.Relu: lambda call: [_function("relu")],
        nn.Relu6: lambda call: [_function("relu6")],
        nn.Sigmoid: lambda call: [_function("sigmoid")],
    }
