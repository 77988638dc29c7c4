"""A network as a short list of operations: read from Keras, changed by the passes, given to TensorFlow's converter.

Every value is (height, width, channels) of one image, float32. The operations:

    input                                     RGB, 0 to 1
    conv, depthwise                           weights kernel, bias; the activation (None, "relu" or "relu6") comes last
    transposed_conv                           weights kernel (height, width, out, in), bias
    dense                                     weights kernel, bias
    affine                                    weights scale, offset: one of each per channel
    prelu                                     weights slope: one per channel
    activation                                attributes function, slope (of leaky_relu)
    add, subtract, multiply, maximum          of two or more values, which may be broadcast
    concat                                    along attributes axis (0 height, 1 width, 2 channels)
    constant                                  weights value
    pad                                       attributes padding; zeros
    average_pool, max_pool                    padding is never counted in the mean
    mean                                      over height and width, which stay as 1x1 or, `flat`, go
    resize                                    attributes method ("bilinear" or "nearest"), corners (aligned or not)
    crop                                      attributes amount, as padding
    pad_channels                              zeros after the channels, up to the node's shape
    max_unpool                                a tensor, and the one whose 2x2 maxima say where its values go
    labels                                    uint8: the greatest channel's number; of one channel, whether it is > 0
    doubt                                     1 - the greatest of the softmax's channels (one channel: of two sigmoids)
    reshape, transpose                        to the node's shape; attributes permutation, counted from 1 as in Keras
    keras                                     anything else, as Keras computes it: attributes call, a function of
                                              (tensors, weights) with the batch in front, and weights of any names

`padding` is ((top, bottom), (left, right)) in pixels, always explicit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

NO_PADDING = ((0, 0), (0, 0))

_WINDOW = {"strides": (1, 1), "padding": NO_PADDING}
_CONV = _WINDOW | {"dilation": (1, 1), "activation": None}
# Operation -> its attributes with what they are when nothing is said; None where something must be.
_ATTRIBUTES = {
    "input": {},
    "conv": _CONV | {"groups": 1},
    "depthwise": _CONV,
    "transposed_conv": {"strides": (1, 1), "same": False},
    "dense": {},
    "affine": {},
    "prelu": {},
    "activation": {"function": None, "slope": None},
    "add": {},
    "subtract": {},
    "multiply": {},
    "maximum": {},
    "concat": {"axis": 2},
    "constant": {},
    "pad": {"padding": NO_PADDING},
    "average_pool": _WINDOW | {"size": None},
    "max_pool": _WINDOW | {"size": None},
    "mean": {"flat": False},
    "resize": {"method": None, "corners": False},
    "crop": {"amount": NO_PADDING},
    "pad_channels": {},
    "max_unpool": {},
    "labels": {},
    "doubt": {},
    "reshape": {},
    "transpose": {"permutation": None},
    "keras": {"call": None},
}
_FILTER = ("kernel", "bias")
_WEIGHTS = {
    **dict.fromkeys(("conv", "depthwise", "transposed_conv", "dense"), _FILTER),
    "affine": ("scale", "offset"),
    "prelu": ("slope",),
    "constant": ("value",),
}


@dataclass
class Node:
    """One operation; `shape` is that of its output, without the batch.

    Attributes that are not given have their operation's defaults. ValueError for an operation, an attribute or a weight
    that there is not.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    attributes: dict = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        if self.op not in _ATTRIBUTES:
            raise ValueError(f"Unknown operation {self.op!r} in {self.name!r}. Known: {', '.join(_ATTRIBUTES)}")
        if unknown := set(self.attributes) - set(_ATTRIBUTES[self.op]):
            raise ValueError(f"{self.op} {self.name!r} has no attribute {', '.join(sorted(unknown))}")
        if self.op != "keras" and set(self.weights) != set(_WEIGHTS.get(self.op, ())):
            raise ValueError(
                f"{self.op} {self.name!r} has the weights {_WEIGHTS.get(self.op, ())}. Received: {tuple(self.weights)}"
            )
        self.attributes = _ATTRIBUTES[self.op] | self.attributes

    def __getitem__(self, key: str):
        """An attribute or a weight. KeyError when the node's operation has neither."""
        if key in self.weights:
            return self.weights[key]
        if key in self.attributes:
            return self.attributes[key]
        raise KeyError(f"{self.op} {self.name!r} has neither an attribute nor a weight {key!r}")

    def but(self, **changes) -> Node:
        """A copy with other fields, attributes or weights; only those of the operation. `op` changes the operation."""
        fields = {k: changes.pop(k) for k in ("name", "op", "inputs", "shape") if k in changes}
        op = fields.get("op", self.op)
        attributes = {k: v for k, v in self.attributes.items() if k in _ATTRIBUTES.get(op, ())}
        weights = dict(self.weights)
        for key, value in changes.items():
            if key in weights or key in _WEIGHTS.get(op, ()):
                weights[key] = np.asarray(value)
            else:
                attributes[key] = value
        return dataclasses.replace(self, **fields, attributes=attributes, weights=weights)


class Graph:
    """Nodes by name, each after its inputs. `classes` channels of logits come out of `output`.

    ValueError when two nodes have the same name.
    """

    def __init__(self, name: str, nodes: Iterable[Node], output: str):
        self.name, self.output = name, output
        self._given: set[str] = set()
        self._set(nodes)

    def _set(self, nodes: Iterable[Node]) -> None:
        nodes = list(nodes)
        self.nodes = {node.name: node for node in nodes}
        if len(self.nodes) < len(nodes):
            names = [node.name for node in nodes]
            raise ValueError(f"Two nodes of {self.name!r} have the name {max(names, key=names.count)!r}")

    def __iter__(self):
        """The nodes in order, each as it is when its turn comes: a loop may change the graph."""
        return (self.nodes[name] for name in list(self.nodes) if name in self.nodes)

    def copy(self) -> Graph:
        return Graph(self.name, self, self.output)

    def unique(self, name: str) -> str:
        """`name`, or with a number behind it where a node has that name or `unique` has given it before."""
        found, number = name, 2
        while found in self.nodes or found in self._given:
            found, number = f"{name}_{number}", number + 1
        self._given.add(found)
        return found

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
        self._set(nodes)
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
