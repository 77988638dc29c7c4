"""A functional Keras 3 model as a Graph."""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np

from tflite.graph.representation import NO_PADDING, Graph, Node, same_padding


def read(model) -> Graph:
    """The graph of a functional Keras 3 model with one image in (RGB 0-255 there, 0-1 here) and one tensor out.

    Raises ValueError that names the layer when the model has one that the conversion does not know, a dynamic height
    or width, or more than one input or output.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"The conversion takes models with one input and one output. Received: {len(model.inputs)} and "
            f"{len(model.outputs)} in {model.name!r}"
        )
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3 or None in shape or shape[2] != 3:
        raise ValueError(
            f"The conversion needs a fixed input size, (height, width, 3); build the network with input_size=(h, w). "
            f"Received: {shape} in {model.name!r}"
        )
    scale = np.full(3, 255.0)
    nodes = [Node("image", "input", (), shape), Node("bytes", "affine", ("image",), shape, {}, _affine(scale))]
    made_by = {}  # id of a Keras tensor -> name of the node that makes it
    # Calls in the order in which they run; a layer that is called again makes a node of its own.
    calls = [call for depth in sorted(model._nodes_by_depth, reverse=True) for call in model._nodes_by_depth[depth]]
    times = collections.Counter()
    for call in calls:
        operation, output = call.operation, call.outputs[0]
        kind = type(operation).__name__
        if kind == "InputLayer":
            made_by[id(output)] = "bytes"
            continue
        if kind not in _READERS:
            raise ValueError(
                f"The conversion does not know the layer {operation.name!r} ({kind}). It knows: "
                f"{', '.join(sorted(_READERS))}. Build that part from these, or add it to tflite/graph.py"
            )
        tensors = call.input_tensors
        read_node = _READERS[kind](operation, tensors[0].shape[1:])
        inputs = tuple(made_by[id(tensor)] for tensor in tensors)
        if read_node is None:  # nothing to do at inference
            made_by[id(output)] = inputs[0]
            continue
        op, attributes, weights = read_node
        weights = {k: np.asarray(v, "float64") for k, v in weights.items() if v is not None}
        times[operation.name] += 1
        name = operation.name if times[operation.name] == 1 else f"{operation.name}_call{times[operation.name]}"
        shape = tuple(output.shape[1:])
        nodes.append(Node(name, op, inputs, shape, attributes, weights))
        function = getattr(getattr(operation, "activation", None), "__name__", "linear")
        if op != "activation" and function != "linear":
            nodes.append(Node(f"{name}_{function}", "activation", (name,), shape, {"function": function}))
            name = nodes[-1].name
        made_by[id(output)] = name
    graph = Graph(model.name, nodes, made_by[id(model.outputs[0])])
    graph.prune()  # of auxiliary outputs
    return graph


def _affine(scale, offset=0.0):
    return {
        "scale": np.asarray(scale, "float64"),
        "offset": np.broadcast_to(np.float64(offset), np.shape(scale)).copy(),
    }


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _window(layer, shape, kernel, dilation=(1, 1)):
    """strides and padding of a layer that slides a window."""
    strides = _pair(layer.strides)
    same = layer.padding == "same"
    return {
        "strides": strides,
        "padding": same_padding(shape[:2], _pair(kernel), strides, dilation) if same else NO_PADDING,
    }


def _read_conv(layer, shape):
    dilation = _pair(layer.dilation_rate)
    attributes = _window(layer, shape, layer.kernel_size, dilation) | {"dilation": dilation, "activation": None}
    kernel = np.asarray(layer.kernel, "float64")
    depthwise = "Depthwise" in type(layer).__name__
    if not depthwise:
        attributes["groups"] = layer.groups
    channels = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    bias = layer.bias if layer.use_bias else np.zeros(channels)
    return "depthwise" if depthwise else "conv", attributes, {"kernel": kernel, "bias": bias}


def _read_grouped_pointwise(layer, shape):
    kernel = np.asarray(layer.dense_kernel(), "float64")
    bias = layer.dense_bias() if layer.use_bias else np.zeros(layer.filters)
    attributes = {"strides": (1, 1), "padding": NO_PADDING, "dilation": (1, 1), "activation": None, "groups": 1}
    return "conv", attributes, {"kernel": kernel, "bias": bias}


def _read_strided_dilated(layer, shape):
    op, attributes, weights = _read_conv(layer, shape)
    kernel = np.asarray(layer.dense_kernel(), "float64")
    return op, attributes | _window(layer, shape, kernel.shape[:2]), weights | {"kernel": kernel}


def _read_transposed(layer, shape):
    if layer.output_padding is not None or _pair(layer.dilation_rate) != (1, 1):
        raise ValueError(
            f"Layer {layer.name!r}: the conversion knows Conv2DTranspose without dilation or output_padding"
        )
    bias = layer.bias if layer.use_bias else np.zeros(layer.filters)
    attributes = {"strides": _pair(layer.strides), "same": layer.padding == "same"}
    return "transposed_conv", attributes, {"kernel": layer.kernel, "bias": bias}


def _read_batch_norm(layer, shape):
    scale = 1 / np.sqrt(np.asarray(layer.moving_variance, "float64") + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma, "float64")
    offset = -np.asarray(layer.moving_mean, "float64") * scale
    if layer.center:
        offset = offset + np.asarray(layer.beta, "float64")
    return "affine", {}, {"scale": scale, "offset": offset}


def _read_prelu(layer, shape):
    slope = np.asarray(layer.alpha, "float64")
    if slope.size != slope.shape[-1]:
        raise ValueError(
            f"Layer {layer.name!r}: the conversion knows PReLU with one slope per channel (shared_axes=[1, 2])"
        )
    return "prelu", {}, {"slope": np.broadcast_to(slope.reshape(-1), shape[-1:]).copy()}


def _read_relu(layer, shape):
    slope, top, threshold = float(layer.negative_slope or 0), layer.max_value, float(layer.threshold or 0)
    if threshold == 0 and top in (None, 6) and (slope == 0 or top is None):
        function = "leaky_relu" if slope else "relu" if top is None else "relu6"
        return "activation", {"function": function, "slope": slope}, {}
    raise ValueError(f"Layer {layer.name!r}: the conversion knows ReLU, ReLU6 and LeakyReLU")


def _read_resize(layer, shape):
    return "resize", {"method": layer.interpolation, "corners": False}, {}


_JOINS = {"Add": "add", "Subtract": "subtract", "Multiply": "multiply", "Maximum": "maximum"}

# Keras class -> function(layer, input shape) -> (operation, attributes, weights), or None for one that does nothing.
_READERS: dict[str, Callable] = {
    "Conv2D": _read_conv,
    "DepthwiseConv2D": _read_conv,
    "RowDepthwiseConv2D": _read_conv,
    "GroupedPointwise": _read_grouped_pointwise,
    "StridedDilatedDepthwiseConv2D": _read_strided_dilated,
    "Conv2DTranspose": _read_transposed,
    "Dense": lambda x, _: ("dense", {}, {"kernel": x.kernel, "bias": x.bias if x.use_bias else np.zeros(x.units)}),
    "BatchNormalization": _read_batch_norm,
    "Rescaling": lambda x, shape: (
        (
            "affine",
            {},
            {
                k: np.broadcast_to(np.float64(v), shape[-1:]).copy()
                for k, v in (("scale", x.scale), ("offset", x.offset))
            },
        )
    ),
    "PReLU": _read_prelu,
    "ReLU": _read_relu,
    "LeakyReLU": lambda x, _: ("activation", {"function": "leaky_relu", "slope": float(x.negative_slope)}, {}),
    "Activation": lambda x, _: ("activation", {"function": x.activation.__name__}, {}),
    "Softmax": lambda x, _: ("activation", {"function": "softmax"}, {}),
    "Concatenate": lambda x, shape: ("concat", {"axis": x.axis % (len(shape) + 1) - 1}, {}),
    "Cropping2D": lambda x, _: ("crop", {"amount": tuple(map(tuple, x.cropping))}, {}),
    "ChannelPadding": lambda x, _: ("pad_channels", {}, {}),
    "MaxUnpooling": lambda x, _: ("max_unpool", {}, {}),
    "Doubt": lambda x, _: ("doubt", {}, {}),
    "ZeroPadding2D": lambda x, _: ("pad", {"padding": tuple(map(tuple, x.padding))}, {}),
    "AveragePooling2D": lambda x, shape: (
        ("average_pool", {"size": _pair(x.pool_size), **_window(x, shape, x.pool_size)}, {})
    ),
    "MaxPooling2D": lambda x, shape: (("max_pool", {"size": _pair(x.pool_size), **_window(x, shape, x.pool_size)}, {})),
    "GlobalAveragePooling2D": lambda x, shape: ("mean", {}, {}) if x.keepdims else ("mean", {"flat": True}, {}),
    "BilinearUpsampling": lambda x, _: ("resize", {"method": "bilinear", "corners": True}, {}),
    "BilinearDeconvolution": _read_resize,
    "UpSampling2D": _read_resize,
    "Resizing": _read_resize,
    "Reshape": lambda x, shape: ("reshape", {}, {}),
    "Permute": lambda x, _: ("transpose", {"permutation": tuple(x.dims)}, {}),
    "Auxiliary": lambda x, _: None,
    "Idle": lambda x, _: None,
    "Dropout": lambda x, _: None,
    "SpatialDropout2D": lambda x, _: None,
    **{keras_name: (lambda x, _, op=op: (op, {}, {})) for keras_name, op in _JOINS.items()},
}
