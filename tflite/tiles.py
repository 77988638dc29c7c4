"""Passes for processors that multiply whole matrices, such as x86 with AMX: `--target amx`.

There an int8 kernel spends its time on its outputs: rounding 64 of them to bytes takes as long as the products of some
500 inputs that make them. So a sum, a batch normalisation or a PReLU as an operation of its own costs as much as a
convolution, while more inputs and zeros in a kernel cost almost nothing. These passes trade the one for the other; on a
phone, which pays for every product, they would make a network slower.
"""

from __future__ import annotations

import numpy as np

from tflite import layout
from tflite.graph import NO_PADDING, Graph, Node
from tflite.layout import is_pointwise, reshaped, transposed, turned

TILE = 64  # inputs and outputs that a product takes at once
_TILE_OUTPUTS, _TILE_INPUTS, _PIECE = 15.6, 2.3, 2.5  # ns per pixel: a tile of outputs, one of inputs, a piece copied
_SHORT = 3  # taps of a depthwise convolution that is fast as it is
MOST_PARTS = 5  # that XNNPACK concatenates
BENT = 1 / 64  # XNNPACK has no int8 kernel for 0, a ReLU that no convolution stands before


def sums_to_pointwise(graph: Graph) -> Graph:
    """A sum with a pointwise convolution in it, or a batch normalisation behind it, becomes one pointwise convolution.

    It reads everything that is added, side by side; what was not convolved has the identity for weights.
    """
    graph = graph.copy()
    for node in graph:
        after = graph.only_consumer(node)
        if node.op != "add" or len(set(node.inputs)) < len(node.inputs) or len(node.shape) != 3:
            continue
        terms = [graph.nodes[name] for name in node.inputs]
        if any(term.shape != node.shape for term in terms):
            continue
        merged = [is_pointwise(t) and graph.only_consumer(t) is not None and not t["activation"] for t in terms]
        scaled = after is not None and _is_scaling(after)
        if not scaled and not any(merged):
            continue
        kernel = np.concatenate(
            [t["kernel"] if m else np.eye(node.shape[2])[None, None] for t, m in zip(terms, merged, strict=True)],
            axis=2,
        )
        bias = sum((t["bias"] for t, m in zip(terms, merged, strict=True) if m), np.zeros(node.shape[2]))
        names = tuple(t.inputs[0] if m else t.name for t, m in zip(terms, merged, strict=True))
        activation = None
        if scaled:
            scale = after["kernel"].reshape(-1)
            kernel, bias, activation = kernel * scale, bias * scale + after["bias"], after["activation"]
        joined = Node(f"{node.name}_terms", "concat", names, (*node.shape[:2], kernel.shape[2]), {"axis": 2})
        graph.replace(node, joined, _pointwise(node.name, joined, kernel, bias, activation))
        if scaled:
            graph.drop(graph.nodes[after.name])
    graph.prune()
    return graph


def prelu_to_inputs(graph: Graph) -> Graph:
    """PReLU goes into the convolutions that read it, as two weights in the place of one.

    They read x and a leaky ReLU of it side by side, and mix the slope of each channel from theirs, 1 and `BENT`. Where
    every reader is a convolution over all channels, that is exact for any slope, at the image's border as well, and of
    the PReLU nothing is left but the leaky ReLU: one slope for all channels makes it a look-up in a table of 256.
    """
    graph = graph.copy()
    for node in graph:
        if node.op != "prelu" or node.name == graph.output:
            continue
        readers = graph.consumers(node)
        joins = [reader for reader in readers if reader.op == "concat" and reader["axis"] == 2]
        behind = [reader for join in joins for reader in graph.consumers(join)]
        direct = [reader for reader in readers if reader.op != "concat"]
        if len(joins) + len(direct) < len(readers) or any(join.name == graph.output for join in joins):
            continue
        if not all(_is_dense(reader) for reader in behind) or not all(_is_dense(r) or _is_scaling(r) for r in direct):
            continue
        x, slope = graph.producer(node), node["slope"]
        parts = [x]
        if x.op == "concat" and x["axis"] == 2 and graph.only_consumer(x) and 2 * len(x.inputs) <= MOST_PARTS:
            parts = [graph.nodes[name] for name in x.inputs]  # so that x itself need not be put together
        bent = [
            Node(
                f"{node.name}_bent_{i}",
                "activation",
                (part.name,),
                part.shape,
                {"function": "leaky_relu", "slope": BENT},
            )
            for i, part in enumerate(parts, start=1)
        ]
        both = tuple(part.name for part in (*parts, *bent))
        pair = Node(f"{node.name}_pair", "concat", both, (*x.shape[:2], 2 * len(slope)), {"axis": 2})
        for reader in direct:
            kernel = np.diag(reader["kernel"].reshape(-1))[None, None] if _is_scaling(reader) else reader["kernel"]
            kernel = _split(kernel, 0, slope)
            if _is_scaling(reader):
                new = _pointwise(reader.name, pair, kernel, reader["bias"], reader["activation"])
            else:
                new = reader.but(kernel=kernel)
            graph.replace(graph.nodes[reader.name], new)
        for join in joins:
            start = 0
            for name in join.inputs:
                width = graph.nodes[name].shape[2]
                if name == node.name:
                    for reader in graph.consumers(join):
                        graph.replace(reader, reader.but(kernel=_split(reader["kernel"], start, slope)))
                    start += width
                start += width
            join = graph.nodes[join.name]
            graph.replace(join, join.but(shape=(*join.shape[:2], start)))
        graph.replace(graph.nodes[node.name], *bent, pair)
    graph.prune()
    return graph


def _split(kernel: np.ndarray, start: int, slope: np.ndarray) -> np.ndarray:
    """A kernel whose inputs from `start` on are x and its leaky ReLU, where they were PReLU(x)."""
    before, own, rest = np.split(kernel, (start, start + len(slope)), axis=2)
    share = (1 - slope[:, None]) / (1 - BENT)
    return np.concatenate([before, own * (1 - share), own * share, rest], axis=2)


def flatten_concat(graph: Graph) -> Graph:
    """A concatenation of concatenations becomes one."""
    graph = graph.copy()
    for node in graph:
        if node.op == "concat" and node["axis"] == 2:
            parts = [graph.nodes[name] for name in node.inputs]
            inputs = [p.inputs if p.op == "concat" and p["axis"] == 2 else (p.name,) for p in parts]
            inputs = tuple(name for names in inputs for name in names)
            if len(inputs) <= MOST_PARTS:
                graph.replace(node, node.but(inputs=inputs))
    graph.prune()
    return graph


def long_kernels_to_dense(graph: Graph) -> Graph:
    """Depthwise convolutions along a line become dense ones of wide pixels.

    With several pixels of the line as one, three taps reach as far as fifteen, and that they see all channels is no
    loss in a matrix product. Along a column it happens on the transposed image.
    """
    graph = graph.copy()
    for node in graph:
        if node.op != "depthwise" or node["strides"] != (1, 1) or node["kernel"].shape[3] != 1:
            continue
        rows, columns = node["kernel"].shape[:2]
        if min(rows, columns) > 1 or max(rows, columns) <= _SHORT or node.shape != graph.producer(node).shape:
            continue
        if columns > 1:
            graph.replace(node, *_blocks(node))
        else:
            before = transposed(f"{node.name}_columns", graph.producer(node))
            along = _blocks(turned(node.but(inputs=(before.name,))))
            graph.replace(node, before, *along, transposed(f"{node.name}_rows", along[-1]))
    return graph


def _blocks(node: Node) -> list[Node]:
    """A depthwise convolution along the width as a dense one of wide pixels."""
    height, width, channels = node.shape
    taps, step, left = node["kernel"].shape[1], node["dilation"][1], node["padding"][1][0]

    def reach(f: int) -> tuple[int, int]:
        return -(-left // f), (f - 1 + (taps - 1) * step - left) // f

    def cost(f: int) -> float:
        return _product(f * channels * (1 + sum(reach(f))), f * channels) / f

    f = min((f for f in range(1, 17) if width % f == 0), key=cost)
    before, after = reach(f)
    kernel = np.zeros((before + 1 + after, f, channels, f, channels))
    every = np.arange(channels)
    for pixel in range(f):
        for tap in range(taps):
            block, place = divmod(pixel + tap * step - left, f)
            kernel[before + block, place, every, pixel, every] += node["kernel"][0, tap, :, 0]
    kernel = kernel.reshape(1, -1, f * channels, f * channels)
    flat = reshaped(f"{node.name}_wide", node.inputs[0], (height, width // f, f * channels))
    wide = node.but(
        op="conv",
        inputs=(flat.name,),
        shape=flat.shape,
        kernel=kernel,
        bias=np.tile(node["bias"], f),
        padding=((0, 0), (before, after)),
        dilation=(1, 1),
        groups=1,
    )
    return [flat, wide, reshaped(f"{node.name}_narrow", node.name, node.shape)]


def fill_tiles(graph: Graph) -> Graph:
    """Pointwise convolutions give the outputs of several pixels at once where that fills the tiles of the product.

    What is concatenated in front of them is concatenated by wide pixels too: fewer and longer pieces to copy.
    """
    graph = graph.copy()
    for node in graph:
        if is_pointwise(node):
            _fill(graph, node)
    return graph


def _fill(graph: Graph, node: Node) -> None:
    source = graph.producer(node)
    height, width, channels = source.shape
    outputs = node.shape[2]
    joins = source.op == "concat" and source["axis"] == 2 and graph.only_consumer(source) is not None
    parts = [graph.nodes[name] for name in source.inputs] if joins else [source]
    pieces = len(parts) if joins else 0

    def nanoseconds(f: int) -> float:
        return (_product(f * channels, f * outputs) + _PIECE * pieces) / f

    f = min((f for f in range(1, 17) if width % f == 0), key=nanoseconds)
    if f == 1:
        return
    new, kernels, start = [], [], 0
    for part in parts:
        rows = node["kernel"][0, 0, start : start + part.shape[2]]
        start += part.shape[2]
        kernels.append(np.kron(np.eye(f), rows))
        new.append(reshaped(f"{node.name}_wide_{len(new)}", part.name, (height, width // f, f * part.shape[2])))
    if joins:
        shape = (height, width // f, f * channels)
        new.append(Node(f"{node.name}_wide", "concat", tuple(n.name for n in new), shape, {"axis": 2}))
    wide = node.but(
        inputs=(new[-1].name,),
        shape=(height, width // f, f * outputs),
        kernel=np.concatenate(kernels)[None, None],
        bias=np.tile(node["bias"], f),
    )
    graph.replace(node, *new, wide, reshaped(f"{node.name}_narrow", node.name, node.shape))
    graph.prune()


def _product(inputs: int, outputs: int) -> float:
    """What a row of a matrix product costs, in ns, as measured with AMX (benchmarks/kernels.py)."""
    return -(-outputs // TILE) * (_TILE_OUTPUTS + _TILE_INPUTS * -(-inputs // TILE))


def _pointwise(name: str, source: Node, kernel: np.ndarray, bias: np.ndarray, activation: str | None = None) -> Node:
    attributes = {"strides": (1, 1), "padding": NO_PADDING, "dilation": (1, 1), "activation": activation, "groups": 1}
    return Node(
        name, "conv", (source.name,), (*source.shape[:2], kernel.shape[3]), attributes, {"kernel": kernel, "bias": bias}
    )


def _is_dense(node: Node) -> bool:
    """A convolution in which every output sees every input channel."""
    return node.op == "conv" and node["groups"] == 1


def _is_scaling(node: Node) -> bool:
    """A factor and an offset per channel: a 1x1 depthwise convolution that keeps the size."""
    alone = node["strides"] == (1, 1) and node["padding"] == NO_PADDING
    return node.op == "depthwise" and node["kernel"].shape[:2] == (1, 1) and node["kernel"].shape[3] == 1 and alone


BEFORE_PRELU = (layout.merge_pointwise, sums_to_pointwise, prelu_to_inputs, flatten_concat)
LAYOUT = (
    long_kernels_to_dense,
    layout.widen_image,
    layout.columns_for_rows,
    layout.split_resize,
    fill_tiles,
    layout.widen_pixels,
)
