"""A network as a short list of operations: read from Keras, changed by `rewrite.py`, given to TensorFlow's converter.

Every value is (height, width, channels) of one image, float32. The operations:

    input                                     RGB, 0 to 1
    conv, depthwise                           weights kernel, bias; attributes strides, padding, dilation, groups,
                                              activation (None, "relu" or "relu6", after the bias)
    transposed_conv                           weights kernel (height, width, out, in), bias; attributes strides, same
    dense                                     weights kernel, bias
    affine                                    weights scale, offset: one of each per channel
    prelu                                     weights slope: one per channel
    activation                                attributes function, slope (of leaky_relu)
    add, subtract, multiply, maximum, concat  of the channels, or along attributes axis (0 height, 1 width, 2 channels)
    constant                                  weights value
    pad                                       attributes padding; zeros
    average_pool, max_pool                    attributes size, strides, padding (padding is never counted in the mean)
    mean                                      over height and width, which stay as 1x1
    resize                                    attributes method ("bilinear" or "nearest"), corners (aligned or not)
    crop                                      attributes amount, as padding
    pad_channels                              zeros after the channels, up to the node's shape
    max_unpool                                a tensor, and the one whose 2x2 maxima say where its values go
    labels                                    uint8: the greatest channel's number; of one channel, whether it is > 0
    doubt                                     1 - the greatest of the softmax's channels (one channel: of two sigmoids)
    reshape, transpose                        to the node's shape; attributes permutation, counted from 1 as in Keras

`padding` is ((top, bottom), (left, right)) in pixels, always explicit.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

NO_PADDING = ((0, 0), (0, 0))


@dataclass
class Node:
    """One operation; `shape` is that of its output, without the batch."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    attributes: dict = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, key: str):
        """An attribute or a weight; None when the node has neither."""
        return self.weights.get(key, self.attributes.get(key))

    def but(self, **changes) -> Node:
        """A copy with other fields, attributes or weights."""
        fields = {k: changes.pop(k) for k in ("name", "op", "inputs", "shape") if k in changes}
        weights = {k: v for k, v in changes.items() if isinstance(v, np.ndarray)}
        attributes = {k: v for k, v in changes.items() if k not in weights}
        return dataclasses.replace(
            self, **fields, attributes=self.attributes | attributes, weights=self.weights | weights
        )


class Graph:
    """Nodes by name, each after its inputs. `classes` channels of logits come out of `output`."""

    def __init__(self, name: str, nodes: Iterable[Node], output: str):
        self.name, self.nodes, self.output = name, {node.name: node for node in nodes}, output

    def __iter__(self):
        """The nodes in order, each as it is when its turn comes: a loop may change the graph."""
        return (self.nodes[name] for name in list(self.nodes) if name in self.nodes)

    def copy(self) -> Graph:
        return Graph(self.name, self, self.output)

    def producer(self, node: Node, position: int = 0) -> Node:
        """The node that makes an input of `node`."""
        return self.nodes[node.inputs[position]]

    def consumers(self, node: Node) -> list[Node]:
        return [other for other in self if node.name in other.inputs]

    def only_consumer(self, node: Node) -> Node | None:
        """The one node that reads `node`; None when there are several, or when it is the graph's output."""
        consumers = self.consumers(node)
        return consumers[0] if len(consumers) == 1 and node.name != self.output else None

    def replace(self, old: Node, *new: Node) -> None:
        """Put nodes in the place of one; the last of them takes over what read `old`."""
        nodes = []
        for node in self:
            if node.name == old.name:
                nodes += new
            elif new and old.name in node.inputs:
                nodes.append(node.but(inputs=tuple(new[-1].name if i == old.name else i for i in node.inputs)))
            else:
                nodes.append(node)
        self.nodes = {node.name: node for node in nodes}
        if old.name == self.output and new:
            self.output = new[-1].name

    def drop(self, node: Node) -> None:
        """Remove a node with one input; what read it reads that input."""
        source = node.inputs[0]
        for other in self.consumers(node):
            inputs = tuple(source if i == node.name else i for i in other.inputs)
            self.nodes[other.name] = other.but(inputs=inputs)
        del self.nodes[node.name]
        if self.output == node.name:
            self.output = source

    def prune(self) -> None:
        """Remove what the output does not need."""
        needed = {self.output}
        for node in reversed(list(self)):
            if node.name in needed:
                needed.update(node.inputs)
        self.nodes = {node.name: node for node in self if node.name in needed or node.op == "input"}


# -- Keras -> Graph ----------------------------------------------------------------------------------------------------


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


def same_padding(size, kernel, strides, dilation):
    """TensorFlow's "SAME", as explicit pixels."""
    amounts = []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        amounts.append((total // 2, total - total // 2))
    return tuple(amounts)


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


# -- Graph -> TensorFlow -----------------------------------------------------------------------------------------------


def to_tensorflow(graph: Graph, every: bool = False):
    """A tf.function of one image, (1, height, width, 3) float32 RGB 0-1, with all weights as constants.

    It gives {"logits": ...}, or with `every` the value of every node by name.
    """
    import tensorflow as tf

    shape = next(node.shape for node in graph if node.op == "input")

    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32, name="image")], autograph=False)
    def network(image):
        values = {}
        for node in graph:
            with tf.name_scope(node.name):
                inputs = [image] if node.op == "input" else [values[name] for name in node.inputs]
                values[node.name] = emit(node, inputs, _constants(node))
        return values if every else {"logits": tf.identity(values[graph.output], name="logits")}

    return network


def run(graph: Graph, images: np.ndarray) -> np.ndarray:
    """What the graph makes of `images` (n, height, width, 3), RGB 0-1, in float32."""
    network = to_tensorflow(graph)
    return np.concatenate([network(image[None].astype("float32"))["logits"].numpy() for image in images])


def peaks(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """The largest absolute value of every channel of every node over `images` (n, height, width, 3), RGB uint8."""
    network, found = to_tensorflow(graph, every=True), {}
    for image in images:
        for name, value in network(image[None].astype("float32") / 255).items():
            peak = np.abs(value.numpy()).reshape(-1, value.shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, 0.0), peak)
    return found


_ACTIVATIONS = {
    "relu": lambda tf, x, _: tf.nn.relu(x),
    "relu6": lambda tf, x, _: tf.nn.relu6(x),
    "leaky_relu": lambda tf, x, node: tf.nn.leaky_relu(x, node["slope"] or 0.2),
    "sigmoid": lambda tf, x, _: tf.sigmoid(x),
    "tanh": lambda tf, x, _: tf.tanh(x),
    "softmax": lambda tf, x, _: tf.nn.softmax(x),
    "hard_sigmoid": lambda tf, x, _: tf.nn.relu6(x + 3) / 6,
    "hard_silu": lambda tf, x, _: x * (tf.nn.relu6(x + 3) / 6),
    "linear": lambda tf, x, _: x,
}


def _constants(node: Node) -> dict:
    """The weights as float32 tensors."""
    import tensorflow as tf

    # Weight decay leaves dead channels at 1e-38; an int8 scale of such a number would be no normal float.
    return {k: tf.constant(np.where(np.abs(v) < 1e-20, 0, v).astype("float32")) for k, v in node.weights.items()}


def emit(node: Node, inputs: list, weights: dict):
    """The operation of `node` on tensors (batch, ...), with `weights` in the place of the node's own."""
    import tensorflow as tf

    x = inputs[0] if inputs else None
    match node.op:
        case "input":
            return x
        case "constant":
            return weights["value"][None]
        case "conv" | "depthwise":
            x, padding = _padded(tf, x, node, weights["kernel"].shape[:2])
            if node.op == "depthwise":
                strides = (1, *node["strides"], 1)
                y = tf.nn.depthwise_conv2d(x, weights["kernel"], strides, padding, dilations=node["dilation"])
            else:
                y = tf.nn.conv2d(x, weights["kernel"], node["strides"], padding, dilations=node["dilation"])
            y = tf.nn.bias_add(y, weights["bias"])
            return _ACTIVATIONS[node["activation"] or "linear"](tf, y, node)
        case "transposed_conv":
            padding = "SAME" if node["same"] else "VALID"
            y = tf.nn.conv2d_transpose(x, weights["kernel"], (_batch(x), *node.shape), node["strides"], padding)
            return tf.nn.bias_add(y, weights["bias"])
        case "dense":
            return tf.nn.bias_add(tf.linalg.matmul(x, weights["kernel"]), weights["bias"])
        case "affine":
            return x * weights["scale"] + weights["offset"]
        case "prelu":  # the form that the converter recognises as PRELU
            return tf.nn.relu(x) + -weights["slope"][None, None] * tf.nn.relu(-x)
        case "activation":
            if node["function"] not in _ACTIVATIONS:
                raise ValueError(
                    f"The conversion does not know the activation {node['function']!r} of {node.name!r}. It knows: "
                    f"{', '.join(sorted(_ACTIVATIONS))}"
                )
            return _ACTIVATIONS[node["function"]](tf, x, node)
        case "add":
            return sum(inputs[1:], x)
        case "subtract":
            return x - inputs[1]
        case "multiply":
            return x * inputs[1]
        case "maximum":
            return tf.maximum(x, inputs[1])
        case "concat":
            return tf.concat(inputs, node["axis"] + 1)
        case "pad":
            return tf.pad(x, ((0, 0), *node["padding"], (0, 0)))
        case "average_pool" | "max_pool":
            x, padding = _padded(tf, x, node, node["size"])
            pool = tf.nn.avg_pool2d if node.op == "average_pool" else tf.nn.max_pool2d
            return pool(x, node["size"], node["strides"], padding)
        case "mean":
            return tf.reduce_mean(x, (1, 2), keepdims=not node["flat"])
        case "resize":
            resize = tf.raw_ops.ResizeBilinear if node["method"] == "bilinear" else tf.raw_ops.ResizeNearestNeighbor
            centers = not node["corners"]
            return resize(images=x, size=node.shape[:2], align_corners=node["corners"], half_pixel_centers=centers)
        case "crop":
            (top, bottom), (left, right) = node["amount"]
            return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
        case "pad_channels":
            return tf.pad(x, ((0, 0), (0, 0), (0, 0), (0, node.shape[-1] - x.shape[-1])))
        case "max_unpool":
            return _max_unpool(tf, x, inputs[1])
        case "labels":
            if x.shape[-1] == 1:
                return tf.cast(x > 0, tf.uint8)
            return tf.cast(tf.argmax(x, axis=-1, output_type=tf.int32)[..., None], tf.uint8)
        case "doubt":
            if x.shape[-1] == 1:
                return 1 - tf.sigmoid(tf.abs(x))
            return 1 - tf.reduce_max(tf.nn.softmax(x), axis=-1, keepdims=True)
        case "reshape":
            return tf.reshape(x, (_batch(x), *node.shape))
        case "transpose":
            return tf.transpose(x, (0, *node["permutation"]))
    raise ValueError(f"Unknown operation {node.op!r} in {node.name!r}")


def _batch(x):
    """How many images `x` holds: a number where it is known, as the converter wants it."""
    import tensorflow as tf

    return tf.shape(x)[0] if x.shape[0] is None else x.shape[0]


def _max_unpool(tf, x, source):
    """The values of `x` where the 2x2 windows of `source` have their first maxima, zeros elsewhere."""
    corners = [source[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    greatest = tf.maximum(tf.maximum(corners[0], corners[1]), tf.maximum(corners[2], corners[3]))
    placed, free = [], None
    for corner in corners:
        here = tf.greater_equal(corner, greatest)
        first = here if free is None else tf.logical_and(here, free)
        free = tf.logical_not(here) if free is None else tf.logical_and(free, tf.logical_not(here))
        placed.append(tf.where(first, x, tf.zeros_like(x)))
    return tf.nn.depth_to_space(tf.concat(placed, axis=-1), 2)


def _padded(tf, x, node: Node, kernel):
    """`x` and TensorFlow's word for the padding that is left: only what neither SAME nor VALID says is a PAD."""
    padding = node["padding"]
    if padding == NO_PADDING:
        return x, "VALID"
    if padding == same_padding(x.shape[1:3], kernel, node["strides"], node["dilation"] or (1, 1)):
        return x, "SAME"
    return tf.pad(x, ((0, 0), *padding, (0, 0))), "VALID"
