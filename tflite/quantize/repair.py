"""Int8 files that XNNPACK refuses as a whole, for one scale that is outside what its kernels take.

After channels that no photo reaches, for example, a layer's range is next to nothing and its kernel's scale beside it
is a thousand times what a kernel may multiply by. The cause can be removed from the graph without a change of what the
file computes: already a smaller weight would saturate, and such terms of a sum are below its last bit.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from tflite import runtime
from tflite.graph.check import agreeing_share, difference
from tflite.graph.emitter import run
from tflite.graph.passes import LINEAR, scaled_kernel
from tflite.graph.representation import Graph, Node
from tflite.quantize.converter import RESULT, to_tflite
from tflite.quantize.ends import for_xnnpack

# What XNNPACK takes: (scale of the inputs x scale of the weights) / scale of the output.
_CONVOLUTION = (0.0, 2.0**8)
_SUM = (2.0**-10, 2.0**8)
_PRODUCT = (2.0**-16, 2.0**8)
SATURATED = 2.0  # of a convolution: already there one step of an input is the output's whole range
ROUNDS = 6  # of repairs: one may show the next
CHECKED = 8  # photos, about as many, on which the repaired network must be the same
LIMIT = 0.05  # of its largest value: rounding to int8 leaves about as much


@dataclass(frozen=True)
class Fault:
    """A scale that XNNPACK refuses: the names of the layers that are the operation and its inputs, and the ratios."""

    layers: tuple[str, ...]
    inputs: tuple[tuple[str, ...], ...]
    operation: str
    ratios: np.ndarray
    limits: tuple[float, float]

    def __str__(self) -> str:
        bad = self.ratios[(self.ratios < self.limits[0]) | (self.ratios >= self.limits[1])]
        return (
            f"{self.layers[0]!r} ({self.operation}): its inputs' scale is {bad[0]:.2g} times its output's; "
            f"{self.limits[0]:.2g} to {self.limits[1]:g} can be computed"
        )


def faults(path: str | Path, result: str) -> list[Fault]:
    """The operations of an int8 `.tflite` with scales that XNNPACK refuses; `result` is the name of the last layer."""
    interpreter = runtime.load_interpreter(path, delegates=False)
    tensors = {int(details["index"]): details for details in interpreter.get_tensor_details()}
    found = []
    for operation in interpreter._get_ops_details():
        inputs = [tensors[int(i)] for i in operation["inputs"] if int(i) in tensors]
        output = tensors[int(operation["outputs"][0])]
        scales = [tensor["quantization_parameters"]["scales"].astype("float64") for tensor in inputs]
        given = output["quantization_parameters"]["scales"]
        if output["dtype"] != np.int8 or not len(given) or not all(map(len, scales[:2])):
            continue
        name = operation["op_name"]
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
            ratios, limits = scales[0] * scales[1] / given[0], _CONVOLUTION
        elif name in ("ADD", "SUB"):
            ratios, limits = np.concatenate(scales[:2]) / given[0], _SUM
        elif name == "MUL":
            ratios, limits = scales[0] * scales[1] / given[0], _PRODUCT
        else:
            continue
        if (ratios < limits[0]).any() or (ratios >= limits[1]).any():
            sources = tuple(_layers(tensor, result) for tensor in inputs)
            found.append(Fault(_layers(output, result), sources, name, ratios, limits))
    return found


def _layers(tensor: dict, result: str) -> tuple[str, ...]:
    """The names of the layers that a tensor's name is made of."""
    names = [part.split("/")[0].split(":")[0] for part in tensor["name"].split(";")]
    return tuple(dict.fromkeys(result if name == RESULT else name for name in names))


def repaired(graph: Graph, found: list[Fault]) -> Graph:
    """The graph without the causes of the faults. UserError names the layer whose cause cannot be removed."""
    graph = graph.copy()
    for fault in found:
        nodes = [graph.nodes[name] for name in fault.layers if name in graph.nodes]
        filters = [node for node in nodes if node.op in LINEAR]
        sums = [node for node in nodes if node.op in ("add", "subtract")]
        if filters and fault.limits == _CONVOLUTION:
            factors = np.where(fault.ratios < fault.limits[1], 1.0, SATURATED / fault.ratios)
            graph.replace(filters[0], _limited(filters[0], factors))
        elif sums and (rest := _without_least(graph, sums[0], fault)):
            graph.drop(sums[0].but(inputs=rest))
        else:
            raise UserError(
                f"XNNPACK, the int8 kernels of phones, refuses the file for the layer {fault}. Calibrate with photos "
                "that reach it, train it on, or leave it out"
            )
    graph.prune()
    return graph


def _limited(node: Node, factors: np.ndarray) -> Node:
    """A convolution, no weight of which is larger than the largest of its output channel times that one's factor."""
    peaks = np.abs(node["kernel"]).reshape(-1, node.shape[-1]).max(axis=0)
    limits = scaled_kernel(node.but(kernel=np.ones_like(node["kernel"])), factors * peaks)
    return node.but(kernel=np.clip(node["kernel"], -limits, limits))


def _without_least(graph: Graph, node: Node, fault: Fault) -> tuple[str, ...]:
    """The inputs of a sum of two without the one that is too small to be added; none when that does not help."""
    least = int(fault.ratios.argmin())
    small = [name for name in node.inputs if name in fault.inputs[least]]
    rest = tuple(name for name in node.inputs if name not in small)
    alone = len(node.inputs) == 2 and len(small) == len(rest) == 1 and fault.ratios.max() < fault.limits[1]
    turned = node.op == "subtract" and small == [node.inputs[0]]
    return rest if alone and not turned and graph.nodes[rest[0]].shape == node.shape else ()


def to_int8(
    graph: Graph, images: np.ndarray, io: str = "uint8", target: str = "any", whole: bool = False
) -> tuple[bytes, Graph]:
    """An int8 file that XNNPACK takes, and the graph that it was made of: `graph`, or without what stood in the way.

    `images`, `io` and `whole` as for `converter.to_tflite`, `target` as `rewrite.TARGETS`. UserError names the layer
    that cannot be helped.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        for _ in range(ROUNDS):
            path.write_bytes(content := to_tflite(graph, "int8", images, io, whole))
            try:
                runtime.load_interpreter(path)  # LiteRT 2.3 crashes where XNNPACK has every operation and refuses one
                return for_xnnpack(content) if target == "any" else content, graph
            except runtime.ModelError as error:
                found = faults(path, graph.output)
                if not found:
                    raise UserError(f"XNNPACK refuses the int8 file: {error}") from error
                mended = repaired(graph, found)
                few = images[:: max(1, len(images) // CHECKED)] / np.float32(255)
                worst = difference(run(graph, few), run(mended, few), agreeing_share(graph))
                if worst > LIMIT:
                    raise UserError(
                        f"XNNPACK, the int8 kernels of phones, refuses the file for the layer {found[0]}; without what "
                        f"it refuses, the network gives values {worst:.0%} of the largest away. Calibrate with photos "
                        "that reach the layer, train it on, or leave it out"
                    ) from error
                graph = mended
    raise UserError(f"XNNPACK, the int8 kernels of phones, refuses the file for the layer {found[0]}")
