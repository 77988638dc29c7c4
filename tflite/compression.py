"""How many zeros and how few distinct weights a `.tflite` holds, read from the file itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tflite import rewrite, runtime
from tflite.bridge import PRUNED
from tflite.graph import Graph

_STORED = {"conv": (3, 0, 1, 2), "transposed_conv": (2, 0, 1, 3), "dense": (1, 0)}  # order of a kernel's axes there


def count(path: str | Path, graph: Graph, laid_out: bool) -> dict:
    """Figures of the kernels that pruning and clustering take: all but the depthwise ones.

    `graph` is what the file was made from, before its layout, if `laid_out`. sparsity: the share of zeros.
    distinct_weights: the most that a kernel has, or one output channel of it where it is int8, since each has a scale
    of its own. The zeros between kernels that the layout merges count for nothing. ValueError when the file does not
    hold the graph's weights.
    """
    places = graph.copy()
    for node in graph:
        if "kernel" in node.weights:
            kernel = np.full(node["kernel"].shape, float(node.op in PRUNED))
            places.replace(node, node.but(kernel=kernel))
    if laid_out:
        graph, places = rewrite.lay_out(graph), rewrite.lay_out(places)
    constants, zeros, weights, distinct = _constants(path), 0, 0, 0
    for node in graph:
        if node.op not in PRUNED or not places.nodes[node.name]["kernel"].any():
            continue
        kernel, place = (g.nodes[node.name]["kernel"].transpose(_STORED[node.op]) for g in (graph, places))
        stored, channelwise = _find(constants, kernel, node.name)
        place = place != 0
        zeros += int((stored[place] == 0).sum())
        weights += int(place.sum())
        parts = zip(stored, place, strict=True) if channelwise else [(stored, place)]
        distinct = max(distinct, *(len(np.unique(values[where])) for values, where in parts))
    return {"sparsity": zeros / max(weights, 1), "distinct_weights": distinct, "weights": weights}


def _constants(path: str | Path) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """(stored values, their real values, half a step) of the tensors that hold data before the model has run."""
    interpreter = runtime.load_interpreter(path, delegates=False)
    written = {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    found = []
    for details in interpreter.get_tensor_details():
        if int(details["index"]) in written or len(details["shape"]) not in (2, 4):
            continue
        stored = interpreter.get_tensor(details["index"])
        quantization = details["quantization_parameters"]
        scales, real, step = quantization["scales"], stored.astype("float32"), 1e-3 * np.abs(stored).max(initial=0)
        if len(scales):
            shape = [1] * stored.ndim
            shape[quantization["quantized_dimension"]] = -1
            scales = scales.reshape(shape) if len(scales) > 1 else scales
            real, step = real * scales, 0.5 * scales
        found.append((stored, real, step))
    return found


def _find(constants: list, kernel: np.ndarray, name: str) -> tuple[np.ndarray, bool]:
    """The stored kernel nearest to `kernel`, and whether each of its output channels has a scale of its own."""
    for stored, real, step in constants:
        if stored.shape == kernel.shape and np.all(np.abs(real - kernel) <= 1.01 * step + 1e-7):
            return stored, stored.dtype == np.int8
    raise ValueError(f"The file does not hold the weights of {name!r} as they were trained")
