"""A Graph as TensorFlow operations: what the converter takes, and what the passes are compared by."""

from __future__ import annotations

import functools

import numpy as np

from keras_models.command import UserError
from tflite.graph.representation import NO_PADDING, Graph, Node, same_padding


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


def run_every(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """The value of every node by name, of `images` (n, height, width, 3), RGB 0-1."""
    network = to_tensorflow(graph, every=True)
    values = [network(image[None].astype("float32")) for image in images]
    return {name: np.concatenate([np.atleast_1d(value[name].numpy()) for value in values]) for name in graph.nodes}


def peaks(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """The largest absolute value of every channel of every node in an image, the mean over `images`.

    `images`: RGB uint8 (n, height, width, 3). The mean, so that one odd image does not decide.
    """
    network, found = to_tensorflow(graph, every=True), {}
    for image in images:
        for name, value in network(image[None].astype("float32") / 255).items():
            peak = np.abs(np.atleast_1d(value.numpy()))
            found[name] = found.get(name, 0.0) + peak.reshape(-1, peak.shape[-1]).max(axis=0) / len(images)
    return found


_ACTIVATIONS = {
    "relu": lambda tf, x, _: tf.nn.relu(x),
    "relu6": lambda tf, x, _: tf.nn.relu6(x),
    "leaky_relu": lambda tf, x, node: tf.nn.leaky_relu(x, node["slope"]),
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
    """The operation of `node` on tensors (batch, ...), with `weights` in the place of the node's own.

    UserError names the layer of Keras that TensorFlow cannot trace.
    """
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
                    f"Unknown activation {node['function']!r} in {node.name!r}. Known: {', '.join(_ACTIVATIONS)}"
                )
            return _ACTIVATIONS[node["function"]](tf, x, node)
        case "add":
            return sum(inputs[1:], x)
        case "subtract":
            return x - inputs[1]
        case "multiply":
            return functools.reduce(tf.multiply, inputs)
        case "maximum":
            return functools.reduce(tf.maximum, inputs)
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
        case "keras":
            return _as_keras_does(tf, node, inputs, weights)
    raise ValueError(f"No TensorFlow for the operation {node.op!r} of {node.name!r}")


def _as_keras_does(tf, node: Node, inputs: list, weights: dict):
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"TensorFlow must trace the layer {node.name!r} as Keras computes it, but Keras is set to "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow"
        )
    try:
        return tf.convert_to_tensor(node["call"](inputs, weights))
    except Exception as error:  # a layer may raise anything
        raise UserError(
            f"The layer {node.name!r} cannot be traced by TensorFlow: {str(error).strip().splitlines()[0]}"
        ) from error


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
    if padding == same_padding(x.shape[1:3], kernel, node["strides"], node.attributes.get("dilation", (1, 1))):
        return x, "SAME"
    return tf.pad(x, ((0, 0), *padding, (0, 0))), "VALID"
