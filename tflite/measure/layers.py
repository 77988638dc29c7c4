"""What each layer of a `.tflite` loses against the float graph that it was made from, and what can be done about it.

The converter names every tensor after the graph's node, so the two are compared node by node. Channels may carry other
factors in the file than in the graph (`rewrite.equalise` chooses them by the photos it sees): the factor that fits best
is divided out of every channel, which leaves what rounding and clipping did.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tflite import runtime
from tflite.graph import Graph, Node, emit, to_tensorflow
from tflite.quantize.converter import RESULT

FEW = 50  # calibration photos; fewer leave the ranges to chance
MOVES = ("reshape", "transpose")  # these compute nothing
COPIES = ("RESHAPE", "TRANSPOSE", "QUANTIZE", "DEQUANTIZE")  # nor do these of the file
CLIPPED = 0.01  # share of a tensor's values at the ends of its range from which the range is too narrow


def is_integer(path: str | Path) -> bool:
    """Whether the operations of a `.tflite` compute in int8 or int16."""
    interpreter = runtime.load_interpreter(path, delegates=False)
    kinds = {int(details["index"]): details["dtype"] for details in interpreter.get_tensor_details()}
    return any(kinds[int(i)] in (np.int8, np.int16) for op in interpreter._get_ops_details() for i in op["outputs"])


def measure(path: str | Path, graph: Graph, inputs: list[np.ndarray]) -> list[dict]:
    """One row per node of `graph` that the file computes, the one that adds most first.

    `inputs`: images (1, height, width, 3) float32, RGB 0-1. In a row: `layer`; `operation` of the file; `loss`, the
    root mean square error as a share of the root mean square; `added`, the same of what the layer alone does to the
    inputs that the file gives it; `clipped`, the share of values that lie beyond the range. ModelError when the file
    was made from another graph.
    """
    interpreter = runtime.load_interpreter(path, delegates=False, keep_tensors=True)
    tensors = {int(details["index"]): details for details in interpreter.get_tensor_details()}
    operations = interpreter._get_ops_details()
    holders = {}  # of each node, the operation and its tensor of what it computes: the last, the others lead to it
    for operation in operations:
        for index in map(int, operation["outputs"]):
            name = tensors[index]["name"].split(";")[0].split("/")[0]
            if name.split(":")[0] == RESULT and "QUANTIZE" not in operation["op_name"]:
                name = graph.output
            node = graph.nodes.get(name)
            fits = node and node.op != "labels" and tuple(tensors[index]["shape"]) == (1, *node.shape)
            if fits and (node.name not in holders or operation["op_name"] not in COPIES):
                holders[node.name] = operation["op_name"], index
    if len(holders) < len(operations) / 2:
        raise runtime.ModelError(
            f"{path} cannot be compared layer by layer: only {len(holders)} of its {len(operations)} "
            f"operations have a layer's name in {graph.name!r}. Was it made from another network, or another program?"
        )
    float_network, sums, own, clipped = to_tensorflow(graph, every=True), {}, {}, dict.fromkeys(holders, 0.0)
    for image in inputs:
        expected = float_network(image)
        details = interpreter.get_input_details()[0]
        interpreter.set_tensor(details["index"], runtime.stored(image, details))
        interpreter.invoke()
        computed = {}  # by the file, in the graph's units
        for name, (_, index) in holders.items():
            stored = interpreter.get_tensor(index)
            found, wanted = (_columns(x) for x in (_real(tensors[index], stored), expected[name].numpy()))
            products = _products(found, wanted)
            sums[name] = sums.get(name, 0) + products
            factor = _factor(products)
            values = np.divide(found, factor, out=wanted.copy(), where=factor > 0)
            computed[name] = values.reshape(1, *graph.nodes[name].shape).astype("float32")
            wanted *= factor
            beyond = np.abs(wanted - found) > tensors[index]["quantization"][0]
            clipped[name] += float((_columns(_at_ends(tensors[index], stored)) * beyond).mean()) / len(inputs)
        for name, values in computed.items():
            wanted = _columns(np.asarray(_from_inputs(graph, graph.nodes[name], computed, image)))
            own[name] = own.get(name, 0) + _products(_columns(values), wanted)
    rows = [
        {
            "layer": name,
            "operation": operation,
            "loss": _loss(sums[name]),
            "added": _loss(own[name]),
            "clipped": clipped[name],
        }
        for name, (operation, _) in holders.items()
        if graph.nodes[name].op not in MOVES
    ]
    return sorted(rows, key=lambda row: -row["added"])


def _from_inputs(graph: Graph, node: Node, given: dict[str, np.ndarray], image: np.ndarray):
    """What `node` makes in float of what the file computed before it; nodes merged into it in the file run too."""
    inputs = [
        given[name] if name in given else _from_inputs(graph, graph.nodes[name], given, image) for name in node.inputs
    ]
    weights = {key: value.astype("float32") for key, value in node.weights.items()}
    return emit(node, inputs or [image], weights)


def _real(details: dict, stored: np.ndarray) -> np.ndarray:
    scale, zero_point = details["quantization"]
    return (stored.astype("float64") - zero_point) * scale if scale else stored


def _columns(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1]).astype("float64")


def _at_ends(details: dict, stored: np.ndarray) -> np.ndarray:
    """Where a value is at an end of the stored range that is not the zero point: those are a ReLU's zeros."""
    if not details["quantization"][0]:
        return np.zeros(stored.shape)
    limits, zero_point = np.iinfo(stored.dtype), details["quantization"][1]
    return np.isin(stored, [end for end in (limits.min, limits.max) if end != zero_point])


def _products(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Sums over found x found, found x wanted and wanted x wanted of every channel."""
    return np.stack([(found * found).sum(0), (found * wanted).sum(0), (wanted * wanted).sum(0)])


def _factor(products: np.ndarray) -> np.ndarray:
    """Of every channel, by which the wanted values come nearest to those found."""
    _, both, wanted = products
    return np.divide(both, wanted, out=np.zeros_like(both), where=wanted > 0)


def _loss(products: np.ndarray) -> float:
    found, both, _ = products
    unexplained = found - both * _factor(products)
    return float(np.sqrt(max(0.0, unexplained.sum()) / max(found.sum(), 1e-30)))


def table(rows: list[dict], count: int) -> str:
    """The `count` rows that add most, as text."""
    lines = ["  layer                                   operation            adds    has   clipped"]
    for row in rows[:count]:
        shares = f"{100 * row['added']:6.2f} %{100 * row['loss']:7.2f} %{100 * row['clipped']:6.2f} %"
        lines.append(f"  {row['layer']:38s}  {row['operation']:18s}{shares}")
    return "\n".join(lines)


def advice(rows: list[dict], calibration: dict | None, loss_points: float, limit: float) -> list[str]:
    """What to do about a loss of `loss_points`, most promising first, each with the flag that does it."""
    found = []
    if calibration and calibration["count"] < FEW:
        found.append(f"more calibration photos: {calibration['count']} set its ranges; {FEW} or more are safer")
    if narrow := [row["layer"] for row in rows if row["clipped"] > CLIPPED]:
        found.append(
            f"calibration photos more like these: {len(narrow)} layers clip more than {CLIPPED:.0%} of their values, "
            f"{narrow[0]} first"
        )
    if loss_points <= limit / 2:
        return found or ["nothing: the loss is well below the limit"]
    power = [row["added"] ** 2 for row in rows]
    first = dict.fromkeys(row["layer"] for row in rows[:3])
    share = sum(power[:3]) / max(sum(power), 1e-30)
    if share > 0.5:
        found.append(
            f"leave single layers float, {share:.0%} of what the layers add comes from three: --engine "
            f"ai-edge-quantizer --keep-float {','.join(first)}"
        )
    else:
        found.append(
            f"train for it, the loss is spread over many layers ({share:.0%} from the worst three): --quantize qat"
        )
    found.append("int16 activations where a slower model is no matter (XNNPACK takes none of it): --quantize int16")
    return found
