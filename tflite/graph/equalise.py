"""Every channel of an int8 tensor gets the same range: see `equalise`."""

from __future__ import annotations

import math

import numpy as np

from tflite.graph.emitter import peaks
from tflite.graph.passes import LINEAR, per_input, scaled_kernel
from tflite.graph.representation import Graph, Node


def equalise(graph: Graph, images: np.ndarray) -> Graph:
    """Every channel gets the same range, by factors that one convolution multiplies in and the next divides out.

    An int8 tensor has one scale for all its channels, so a channel that stays small beside the others keeps few of its
    bits. Positive factors pass through PReLU, ReLU, sums, concatenation and interpolation unchanged; what a factor must
    not pass (the image, the logits, other activations) keeps its channels as they are. `images`, RGB uint8, show the
    ranges (Nagel et al. 2019, section 4.1, with measured ranges in place of the weights').
    """
    graph = graph.copy()
    ranges = peaks(graph, images)
    tied: list[int] = []  # union-find over all channels of all nodes

    def find(i: int) -> int:
        while tied[i] != i:
            tied[i] = tied[tied[i]]
            i = tied[i]
        return i

    ids, fixed = {}, set()
    for node in graph:
        own = ids[node.name] = list(range(len(tied), len(tied) + math.prod(node.shape[-1:])))
        tied += own
        if node.op in ("add", "subtract"):  # one channel may be broadcast to all of them
            inputs = [i for name in node.inputs for i in ids[name] * (len(own) // len(ids[name]))]
        elif node.op == "concat" and node["axis"] == len(node.shape) - 1:
            inputs = [i for name in node.inputs for i in ids[name]]
        elif _passes_factors(node):
            inputs = ids[node.inputs[0]]
        else:
            inputs = []
            if node.op not in LINEAR or node["activation"] not in (None, "relu"):
                fixed.update(ids[node.name], *(ids[name] for name in node.inputs))
        for a, b in zip(own * (len(inputs) // len(own)), inputs, strict=True):
            tied[find(a)] = find(b)
    fixed = {find(i) for i in fixed.union(ids[graph.output])}
    peak = np.zeros(len(tied))
    for name, own in ids.items():
        np.maximum.at(peak, [find(i) for i in own], ranges[name])
    factors = {}
    for name, own in ids.items():
        roots = [find(i) for i in own]
        # A channel that is all but dead stays small: its noise is not worth a full range.
        factors[name] = np.array([1.0 if i in fixed or peak[i] < 1e-3 else 1 / peak[i] for i in roots])
    for node in graph:
        if node.op not in LINEAR:
            continue
        after, before = factors[node.name], factors[node.inputs[0]]
        scaled = node.but(kernel=node["kernel"] / per_input(node, before))
        graph.replace(node, scaled.but(kernel=scaled_kernel(scaled, after), bias=node["bias"] * after))
    return graph


def _passes_factors(node: Node) -> bool:
    """Whether f(k x) = k f(x) for every k > 0, channel by channel."""
    homogeneous = node.op == "activation" and node["function"] in ("relu", "leaky_relu")
    pooling = node.op in ("average_pool", "max_pool") or (node.op == "mean" and not node["flat"])
    return homogeneous or pooling or node.op in ("prelu", "resize", "pad")
