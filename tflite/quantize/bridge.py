"""The bridge to TensorFlow's Model Optimization toolkit: the one module that knows of it and of the old Keras.

The toolkit takes no Keras 3 network. So a `Graph`, as the rewriting leaves it, becomes a tf_keras model with one layer
per node, which runs the very code that the converter gets (`graph.emit`); the toolkit's wrappers around those layers
prune, cluster and quantize; and the trained weights go back into the Graph.

Importing the toolkit sets TF_USE_LEGACY_KERAS and so turns `tf.keras` into the old Keras, for the user's program and
for its child processes. `_toolkit` undoes the one and prevents the other.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tflite.graph import Graph, Node, emit

PRUNED = ("conv", "transposed_conv", "dense")  # not depthwise: its few weights per channel have none to spare
_MOVING = ("crop", "pad", "pad_channels", "reshape", "transpose", "max_pool", "max_unpool")  # make no new values
_FUSED = ("relu", "relu6")


@functools.cache
def _toolkit():
    """(tf_keras, tensorflow_model_optimization), imported so that `tf.keras` and the environment stay as they are."""
    import tensorflow as tf

    _ = tf.keras.Model  # decides here, by the user's own environment, which Keras it is
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        return importlib.import_module("tf_keras"), importlib.import_module("tensorflow_model_optimization")
    finally:
        if before is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
        else:
            os.environ["TF_USE_LEGACY_KERAS"] = before


@functools.cache
def _operation_class():
    tf_keras, tfmot = _toolkit()
    import tensorflow as tf

    run = tf.autograph.experimental.do_not_convert(emit)

    class Operation(tf_keras.layers.Layer, tfmot.sparsity.keras.PrunableLayer, tfmot.clustering.keras.ClusterableLayer):
        """One node of a Graph. Its weights are attributes, named as in the node, so that wrappers can replace them."""

        def __init__(self, node: Node):
            super().__init__(name=node.name, trainable=node.op != "constant")
            self.node = node
            self.stored = {}

        def build(self, input_shape):
            for name, value in self.node.weights.items():
                start = _toolkit()[0].initializers.Constant(value)
                self.stored[name] = self.add_weight(name, value.shape, initializer=start)
                setattr(self, name, self.stored[name])

        def call(self, inputs):
            weights = {name: tf.convert_to_tensor(getattr(self, name)) for name in self.node.weights}
            if self.node.op == "constant":  # `inputs` is the image, which says how many are in the batch
                return tf.repeat(weights["value"][None], tf.shape(inputs)[0], axis=0)
            return run(self.node, inputs if isinstance(inputs, list | tuple) else [inputs], weights)

        def compute_output_shape(self, input_shape):
            return (None, *self.node.shape)

        def get_prunable_weights(self):
            return [self.kernel]

        def get_clusterable_weights(self):
            return [("kernel", self.kernel)]

    return Operation


def to_tf_keras(graph: Graph, wrap: Callable | None = None, every: bool = False):
    """The graph as a tf_keras functional model: (batch, height, width, 3) float32 RGB 0-1 to logits.

    `wrap` is a function of a layer and its node that gives the layer to use. With `every` the outputs are a list of
    what each node makes, in the graph's order.
    """
    tf_keras, _ = _toolkit()
    values = {}
    for node in graph:
        if node.op == "input":
            image = values[node.name] = tf_keras.Input(node.shape, name=node.name)
            continue
        layer = _operation_class()(node)
        inputs = [values[name] for name in node.inputs] or [image]
        values[node.name] = (wrap(layer, node) if wrap else layer)(inputs if len(inputs) > 1 else inputs[0])
    return tf_keras.Model(image, list(values.values()) if every else values[graph.output], name="bridge")


# -- What the toolkit does ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Technique:
    """What one stretch of training does to the weights: `sparsity`, `clusters` or, with neither, `int8` alone.

    sparsity: share of zeros, 0 to 1. clusters: distinct values in a kernel. int8: train with the rounding of weights
    and activations. Zeros and clusters that the graph already has are kept where `keep_zeros` and `keep_clusters` say.
    """

    sparsity: float | None = None
    clusters: int | None = None
    int8: bool = False
    keep_zeros: bool = False
    keep_clusters: bool = False


class Bridge:
    """A Graph in training: `model`, the tf_keras model with the toolkit's wrappers, and the way back.

    `steps` is the number of training steps to come; pruning takes the first half of them to reach its sparsity.
    """

    def __init__(self, graph: Graph, technique: Technique, steps: int):
        self.source, self.technique = graph, technique
        self._rounded = _rounded(graph) if technique.int8 else set()
        self._layers, self._wrapped = {}, {}
        end = max(1, steps // 2)
        frequency = max(1, end // 20)
        schedule = {"begin_step": 0, "end_step": end // frequency * frequency, "frequency": frequency}

        def wrap(layer, node):
            self._layers[node.name] = self._wrapped[node.name] = layer
            wrapper = self._wrapper(layer, node, schedule)
            if wrapper is not None:
                self._wrapped[node.name] = wrapper
            return self._wrapped[node.name]

        self.model = to_tf_keras(graph, wrap)
        # Some wrappers put a tensor in a weight's place, and then Keras no longer lists the weight.
        stored = [v for layer in self._layers.values() if layer.trainable for v in layer.stored.values()]
        self.trainable = list({id(v): v for v in (*stored, *self.model.trainable_variables)}.values())
        self.variables = list({id(v): v for v in (*self.trainable, *self.model.variables)}.values())
        self._sparse_after = schedule["end_step"]
        self._pruning = None
        if technique.sparsity:
            self._pruning = _toolkit()[1].sparsity.keras.UpdatePruningStep()
            self._pruning.set_model(self.model)
            self._pruning.on_train_begin()

    def _wrapper(self, layer, node: Node, schedule: dict):
        _, tfmot = _toolkit()
        technique = self.technique
        if technique.int8:
            return tfmot.quantization.keras.QuantizeWrapperV2(layer, _int8_config(node, technique, self._rounded))
        if technique.sparsity and node.op in PRUNED:
            decay = tfmot.sparsity.keras.PolynomialDecay(0.0, technique.sparsity, **schedule)
            return tfmot.sparsity.keras.prune_low_magnitude(layer, decay)
        if technique.clusters and _is_clustered(node, technique.clusters):
            start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
            keep = technique.keep_zeros and bool((node["kernel"] == 0).any())
            return tfmot.clustering.keras.cluster_weights(layer, technique.clusters, start, preserve_sparsity=keep)
        return None

    def set_up(self, images: np.ndarray, ranges: dict[str, tuple[float, float]]) -> None:
        """Start the rounding from ranges that fit instead of the toolkit's -6 to 6; `images` as the model takes them.

        The weights' quantizers learn theirs in a forward pass.
        """
        self.model(images, training=True)
        self.set_ranges(ranges)

    def is_valid_after(self, steps: int) -> bool:
        """Whether the weights are all that was asked for: pruning takes its time."""
        return not self.technique.sparsity or steps >= self._sparse_after

    def end_epoch(self) -> None:
        """Let the toolkit finish an epoch: pruned weights become zero again after the last step."""
        if self._pruning is not None:
            self._pruning.on_epoch_end(None)

    def graph(self) -> Graph:
        """The Graph with the weights as they are now."""
        graph = self.source.copy()
        for node in self.source:
            if node.weights:
                stored = {name: value.numpy() for name, value in self._layers[node.name].stored.items()}
                if self.technique.clusters and self._wrapped[node.name] is not self._layers[node.name]:
                    # The variable is the unclustered weight; what the layer uses is put together at each call.
                    self._wrapped[node.name].update_clustered_weights_associations()
                    stored["kernel"] = np.asarray(self._layers[node.name].kernel)
                graph.replace(graph.nodes[node.name], node.but(**{k: v.astype("float64") for k, v in stored.items()}))
        return graph

    def set_ranges(self, ranges: dict[str, tuple[float, float]]) -> None:
        """Give the rounding of activations the (least, greatest) value of each node."""
        for name in self._rounded:
            variables = {v.name.split("/")[-1].split(":")[0]: v for v in self._wrapped[name].non_trainable_variables}
            low, high = ranges[name]
            variables["output_min"].assign(min(low, 0.0))
            variables["output_max"].assign(max(high, 0.0))

    def optimizer(self, rate: float, steps: int):
        """Adam with a cosine that falls from `rate` to 0 over `steps`, its variables made."""
        tf_keras, _ = _toolkit()
        optimizer = tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(rate, steps))
        optimizer.build(self.trainable)
        return optimizer


def _is_clustered(node: Node, clusters: int) -> bool:
    """Whether clustering takes the node: not depthwise, and more distinct weights than asked for."""
    return node.op in PRUNED and np.unique(node["kernel"]).size > clusters


class Ranges:
    """Measures the ranges that the converter gives the nodes of a graph, over images, whatever the graph's weights."""

    def __init__(self, graph: Graph, images: np.ndarray, batch_size: int = 8):
        """`images`: float32 (n, height, width, 3), RGB 0-1."""
        import tensorflow as tf

        self._images, self._batch_size, self._graph = images, batch_size, graph
        self._layers = {}

        def remember(layer, node):
            self._layers[node.name] = layer
            return layer

        model = to_tf_keras(graph, remember, every=True)

        @tf.function
        def measure(batch):
            values = model(batch)
            return tf.stack([(tf.reduce_min(v), tf.reduce_max(v)) for v in values])

        self._measure = measure

    def of(self, graph: Graph) -> dict[str, tuple[float, float]]:
        """The (least, greatest) value by node, with the weights of `graph`."""
        for node in graph:
            for name in node.weights:
                self._layers[node.name].stored[name].assign(node[name])
        starts = range(0, len(self._images), self._batch_size)
        found = np.stack([self._measure(self._images[i : i + self._batch_size]).numpy() for i in starts])
        low, high = found[..., 0].min(axis=0), found[..., 1].max(axis=0)
        ranges = dict(zip(self._graph.nodes, zip(low.tolist(), high.tolist(), strict=True), strict=True))
        for node in self._graph:
            if node.op == "resize":  # int8 kernels interpolate on their input's grid
                ranges[node.name] = ranges[node.inputs[0]]
            elif node.op == "activation" and node["function"] in ("sigmoid", "softmax"):
                ranges[node.name] = (0.0, 255 / 256)
        return ranges


def _rounded(graph: Graph) -> set[str]:
    """Names of the nodes whose values the int8 kernels round to a range of their own.

    What only moves values keeps its input's range; a ReLU is part of what comes before it; and a concatenation has one
    range for all that goes into it.
    """
    names = set()
    for node in graph:
        reader = graph.only_consumer(node)
        fused = reader is not None and reader.op == "activation" and reader["function"] in _FUSED
        joined = reader is not None and reader.op == "concat"
        if node.op not in ("input", "constant", *_MOVING) and not fused and not joined:
            names.add(node.name)
    return names


def _int8_config(node: Node, technique: Technique, rounded: set[str]):
    """The toolkit's description of how a layer is quantized."""
    quantizers = _quantizers()
    _, tfmot = _toolkit()
    weight = None
    if "kernel" in node.weights:
        weight = quantizers["channel"](node)
        zeros = technique.keep_zeros and node.op in PRUNED and bool((node["kernel"] == 0).any())
        if technique.keep_clusters and node.op in PRUNED:
            weight = quantizers["clusters"](zeros)
        elif zeros:
            weight = quantizers["zeros"]()
    output = tfmot.quantization.keras.quantizers.MovingAverageQuantizer(8, False, False, False)

    class Int8Config(tfmot.quantization.keras.QuantizeConfig):
        def get_weights_and_quantizers(self, layer):
            return [(layer.kernel, weight)] if weight else []

        def set_quantize_weights(self, layer, quantize_weights):
            if weight:
                layer.kernel = quantize_weights[0]

        def get_activations_and_quantizers(self, layer):
            return []

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
            return [output] if node.name in rounded else []

        def get_config(self):
            return {}

    return Int8Config()


@functools.cache
def _quantizers() -> dict:
    """Quantizers of weights by name: one scale per output channel, as the int8 kernels have it, -127 to 127."""
    import tensorflow as tf

    _, tfmot = _toolkit()
    root = "tensorflow_model_optimization.python.core.quantization.keras.collab_opts"
    keep_zeros = importlib.import_module(f"{root}.prune_preserve.prune_preserve_quantize_registry")
    keep_clusters = importlib.import_module(f"{root}.cluster_preserve.cluster_preserve_quantize_registry")

    class Channel(tfmot.quantization.keras.quantizers.Quantizer):
        """Keeps no range of its own: it is that of the weights as they are, for any order of the kernel's axes."""

        def __init__(self, node: Node):
            self.kept = {"depthwise": (2, 3), "transposed_conv": (2,)}.get(node.op, (-1,))

        def build(self, tensor_shape, name, layer):
            return {}

        def __call__(self, inputs, training, weights, **kwargs):
            rank = len(inputs.shape)
            kept = [axis % rank for axis in self.kept]
            order = [axis for axis in range(rank) if axis not in kept] + kept
            moved = tf.transpose(inputs, order)
            flat = tf.reshape(moved, (-1, int(np.prod([inputs.shape[axis] for axis in kept]))))
            greatest = tf.maximum(tf.reduce_max(tf.abs(flat), axis=0), 1e-9)
            rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
                flat, -tf.stop_gradient(greatest), tf.stop_gradient(greatest), narrow_range=True
            )
            return tf.transpose(tf.reshape(rounded, moved.shape), np.argsort(order))

        def get_config(self):
            return {}

    each_channel = {"num_bits": 8, "per_axis": True, "symmetric": True, "narrow_range": True}
    return {
        "channel": Channel,
        "zeros": lambda: keep_zeros.PrunePreserveDefaultWeightsQuantizer(**each_channel),
        "clusters": lambda zeros: keep_clusters.ClusterPreserveDefaultWeightsQuantizer(
            **each_channel, preserve_sparsity=zeros
        ),
    }
