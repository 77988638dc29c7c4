"""Passes that lay an image out so that the int8 kernels of a CPU work on full vectors.

Those kernels take 16 channels at a time: 18 channels cost as much as 32. Where a convolution does not look along the
width, neighbouring columns can count as channels of one wider pixel, which is free, since a pixel's channels lie
beside each other in memory: (height, width, channels) is (height, width / f, f x channels) without moving a byte.
"""

from __future__ import annotations

import math

import numpy as np

from tflite.graph.passes import is_pointwise
from tflite.graph.representation import Graph, Node

LANES = 16
_ENOUGH = 0.85  # share of the lanes in use from which widening a pixel is not worth its longer kernel
_WIDE = 48  # channels from which a pixel's own cost no longer shows
_SWAP = (2, 1, 3)


def merge_pointwise(graph: Graph) -> Graph:
    """Parallel pointwise convolutions that are concatenated become one, with zeros between their weights.

    One matrix product over 56 channels takes less time than three over 18.
    """
    graph = graph.copy()
    for concat in graph:
        parts = [graph.nodes[name] for name in concat.inputs]
        if concat.op != "concat" or concat["axis"] != 2 or len(set(concat.inputs)) < len(parts):
            continue
        if not all(is_pointwise(part) and graph.only_consumer(part) for part in parts):
            continue
        if len({part["activation"] for part in parts}) > 1:
            continue
        inputs, outputs = (sum(part["kernel"].shape[axis] for part in parts) for axis in (2, 3))
        kernel, row, column = np.zeros((1, 1, inputs, outputs)), 0, 0
        for part in parts:
            rows, columns = part["kernel"].shape[2:]
            kernel[:, :, row : row + rows, column : column + columns] = part["kernel"]
            row, column = row + rows, column + columns
        shape = (*concat.shape[:2], inputs)
        joined = Node(
            graph.unique(f"{concat.name}_inputs"), "concat", tuple(p.inputs[0] for p in parts), shape, {"axis": 2}
        )
        bias = np.concatenate([part["bias"] for part in parts])
        merged = parts[0].but(name=concat.name, inputs=(joined.name,), shape=concat.shape, kernel=kernel, bias=bias)
        graph.replace(concat, joined, merged)
    graph.prune()
    return graph


def columns_for_rows(graph: Graph) -> Graph:
    """Depthwise convolutions along a row run along a column of the transposed image, where pixels can be widened.

    The transposition behind it moves on through what does not mind, until it meets another that undoes it.
    """
    graph = graph.copy()
    for node in graph:
        if node.op != "depthwise" or node["strides"] != (1, 1) or not _is_column(turned(node)):
            continue
        if _widening(node.shape[2], node.shape[0]) > 1:
            before = transposed(graph.unique(f"{node.name}_columns"), graph.producer(node))
            along = turned(node.but(inputs=(before.name,)))
            graph.replace(node, before, along, transposed(graph.unique(f"{node.name}_rows"), along))
    while _sink_transposition(graph):
        pass
    return graph


def _is_column(node: Node) -> bool:
    rows, columns = node["kernel"].shape[:2]
    return columns == 1 < rows


def transposed(name: str, source: Node) -> Node:
    height, width, channels = source.shape
    return Node(name, "transpose", (source.name,), (width, height, channels), {"permutation": _SWAP})


def turned(node: Node) -> Node:
    """A convolution that does on the transposed image what `node` does on the image."""
    swapped = {key: node[key][::-1] for key in ("strides", "padding", "dilation")}
    height, width, channels = node.shape
    return node.but(shape=(width, height, channels), kernel=node["kernel"].transpose(1, 0, 2, 3), **swapped)


def _sink_transposition(graph: Graph) -> bool:
    """Move one transposition behind what reads it; False when none can move."""
    for node in graph:
        after = graph.only_consumer(node) if _swaps(node) else None
        if after is None:
            continue
        if _swaps(after):
            graph.drop(after)
            graph.drop(node)
            return True
        sources = [graph.nodes[name] for name in after.inputs]
        if after.op in ("conv", "depthwise") and not _is_column(after):
            moved = turned(after.but(inputs=node.inputs))
        elif after.op in ("concat", "add", "subtract") and all(
            _swaps(source) and graph.only_consumer(source) for source in sources
        ):
            shape = (after.shape[1], after.shape[0], after.shape[2])
            moved = after.but(inputs=tuple(source.inputs[0] for source in sources), shape=shape)
            if after.op == "concat" and after["axis"] != 2:
                continue
        else:
            continue
        graph.replace(after, moved, transposed(graph.unique(f"{after.name}_turned"), moved))
        graph.prune()
        return True
    return False


def _swaps(node: Node) -> bool:
    return node.op == "transpose" and node["permutation"] == _SWAP


def split_resize(graph: Graph) -> Graph:
    """Interpolation of a few channels goes along the height, then along the width, each over whole rows of numbers."""
    graph = graph.copy()
    for node in graph:
        source = graph.producer(node) if node.op == "resize" else None
        if source is None or node.shape[2] >= LANES // 2:
            continue
        nodes, last = [], source
        for axis in ("height", "width"):
            rows, columns, channels = last.shape
            target = node.shape[0] if axis == "height" else node.shape[1]
            name = graph.unique(f"{node.name}_{axis}")
            flat = reshaped(graph.unique(f"{name}_flat"), last.name, (rows, 1, columns * channels))
            resized = node.but(name=name, inputs=(flat.name,), shape=(target, 1, columns * channels))
            full = reshaped(graph.unique(f"{name}_full"), name, (target, columns, channels))
            turned = transposed(graph.unique(f"{name}_turned"), full)
            nodes += [flat, resized, full, turned]
            last = turned
        graph.replace(node, *nodes)
    return graph


def widen_pixels(graph: Graph) -> Graph:
    """Neighbouring columns count as channels wherever that fills the lanes: see this module's first lines."""
    graph = graph.copy()
    for node in graph:
        if node.op == "depthwise" and node["strides"] == (1, 1):
            _widen_depthwise(graph, node)
        elif is_pointwise(node) and node.shape[2] < LANES:
            _widen_pointwise(graph, node)
    while _join_reshapes(graph):
        pass
    return graph


def _widening(channels: int, width: int, step: int = 0) -> int:
    """How many columns to count as one: the fewest that fill the lanes; divides `width` and `step`, if there is one."""
    choices = [f for f in range(1, 17) if width % f == 0 and step % f == 0]

    def gain(f: int) -> tuple[float, int]:
        wide = f * channels
        share = wide / (-(-wide // LANES) * LANES)
        return min(share, _ENOUGH) * min(wide, _WIDE), -f

    return max(choices, key=gain)


def _widen_depthwise(graph: Graph, node: Node) -> None:
    height, width, channels = graph.producer(node).shape
    _, columns, _, multiplier = node["kernel"].shape
    (top, bottom), sides = node["padding"]
    if node.shape[1] != width or multiplier != 1 or (columns > 1 and len(set(sides)) > 1):
        return
    # Along the width a kernel must step from one wide pixel to another.
    dilation = node["dilation"][1] if columns > 1 else 0
    step = math.gcd(dilation, sides[0])
    f = _widening(channels, width, step)
    if f == 1:
        return
    flat = reshaped(graph.unique(f"{node.name}_wide"), node.inputs[0], (height, width // f, f * channels))
    wide = node.but(
        inputs=(flat.name,),
        shape=(node.shape[0], width // f, f * channels),
        kernel=np.tile(node["kernel"], (1, 1, f, 1)),
        bias=np.tile(node["bias"], f),
        padding=((top, bottom), (sides[0] // f, sides[1] // f)),
        dilation=(node["dilation"][0], max(1, dilation // f)),
    )
    graph.replace(node, flat, wide, reshaped(graph.unique(f"{node.name}_narrow"), node.name, node.shape))


def _widen_pointwise(graph: Graph, node: Node) -> None:
    """Few outputs leave most columns of a matrix product's tile empty; several pixels' outputs fill it."""
    height, width, channels = graph.producer(node).shape
    outputs = node.shape[2]
    f = max(f for f in range(1, 9) if width % f == 0 and f * outputs <= LANES)
    if f == 1:
        return
    flat = reshaped(graph.unique(f"{node.name}_wide"), node.inputs[0], (height, width // f, f * channels))
    kernel = np.kron(np.eye(f), node["kernel"][0, 0])[None, None]
    wide = node.but(
        inputs=(flat.name,), shape=(height, width // f, f * outputs), kernel=kernel, bias=np.tile(node["bias"], f)
    )
    graph.replace(node, flat, wide, reshaped(graph.unique(f"{node.name}_narrow"), node.name, node.shape))


def reshaped(name: str, source: str, shape: tuple[int, ...]) -> Node:
    return Node(name, "reshape", (source,), shape)


def _join_reshapes(graph: Graph) -> bool:
    """Remove one reshape that another undoes, or move one behind a sum of equally reshaped values."""
    for node in graph:
        if node.op == "reshape":
            source = graph.producer(node)
            if source.shape == node.shape:
                graph.drop(node)
                return True
            if source.op == "reshape":
                graph.replace(node, node.but(inputs=source.inputs))
                graph.prune()
                return True
        if node.op in ("add", "subtract"):
            sources = [graph.nodes[name] for name in node.inputs]
            shapes = {graph.producer(source).shape for source in sources if source.op == "reshape"}
            whole = all(source.op == "reshape" and source.shape == node.shape for source in sources)
            if whole and len(shapes) == 1:
                inputs = tuple(source.inputs[0] for source in sources)
                wide = node.but(inputs=inputs, shape=shapes.pop())
                graph.replace(node, wide, reshaped(graph.unique(f"{node.name}_narrow"), node.name, node.shape))
                graph.prune()
                return True
    return False


PASSES = (merge_pointwise, columns_for_rows, split_resize, widen_pixels)
