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

import dataclasses
from collections.abc import Iterable
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


def same_padding(size, kernel, strides, dilation):
    """TensorFlow's "SAME", as explicit pixels."""
    amounts = []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        amounts.append((total // 2, total - total // 2))
    return tuple(amounts)
