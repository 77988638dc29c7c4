"""What a `.tflite` consists of, as figures: operations, weights, values in memory, what delegates take and why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite import metadata, runtime
from tflite.measure import dataflow, delegates

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")


@dataclass(frozen=True)
class Operation:
    """One operation of the file.

    index, name: its place in the order of execution and its type
    layer: the name of the first tensor that it writes
    inputs, outputs: type and shape of what it reads (weights included) and writes, as text
    types, shapes: the same as lists, without constants; weight_types: of weights and biases
    attributes: stride, dilation, padding, activation and the like, where they are not the default
    quantization: scale (of the first channel) and zero_point of what it writes, or None
    parameters: how many weights and biases it reads; macs: multiply-accumulates that it executes (zeros that a layout
    put into a kernel included)
    sources: the operations whose values it reads; -1 stands for the model's input
    live_bytes: all values that must be in memory while it runs, without weights
    float_output: it computes in float; delegated: XNNPACK takes it, as measured
    refused: by delegate, why it does not take it
    """

    index: int
    name: str
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    weight_types: tuple[str, ...]
    attributes: dict
    quantization: dict | None
    parameters: int
    macs: int
    sources: tuple[int, ...]
    live_bytes: int
    float_output: bool
    delegated: bool
    refused: dict[str, str]


def inspect(path: str | Path) -> dict:
    """The figures of a `.tflite`, as `--json` writes them; `operations` lists every one of them.

    float_ops: operations that compute in float, without a DEQUANTIZE whose value is the output or goes into a QUANTIZE
    again; float_islands: the connected groups of them in a quantized graph. delegated, total: operations that XNNPACK
    takes, of all; partitions: the pieces that it takes them in, measured. delegates: the same by delegate, with the
    reasons; measured for XNNPACK, by rules for the others. peak_bytes: the most that live_bytes reaches, at the
    operation peak_at; activation_bytes: all values together. metadata: the name, version and labels that the file
    itself states, or None. ModelError for a broken file.
    """
    try:
        return _inspect(path)
    except runtime.ModelError:
        raise
    except Exception as error:  # the tables of a damaged file lead anywhere, and the schema's reader follows them
        raise runtime.ModelError(
            f"{path} is damaged: its tables contradict each other ({error!r:.100}). Convert or copy it again."
        ) from error


def _inspect(path: str | Path) -> dict:
    plain = runtime.load_interpreter(path, delegates=False)
    tensors = {int(details["index"]): details for details in plain.get_tensor_details()}
    ends = {int(details["index"]) for details in plain.get_output_details()}
    starts = {int(details["index"]) for details in plain.get_input_details()}
    nodes = plain._get_ops_details()
    if not nodes:
        raise runtime.ModelError(f"{path} has no operations: its output is its input.")
    made = {int(index): int(node["index"]) for node in nodes for index in node["outputs"]}
    flowing = dataflow.flowing(nodes, starts)
    live = dataflow.live_bytes(nodes, tensors, starts, ends, flowing)
    all_attributes = _attributes(path)
    taken, partitions = delegation(runtime.load_interpreter(path))
    computed_with = {int(index) for node in nodes if node["op_name"] != "QUANTIZE" for index in node["inputs"]}
    operations, all_weights = [], set()
    for node, attributes in zip(nodes, all_attributes, strict=True):
        index, name = int(node["index"]), node["op_name"]
        reads = [int(i) for i in node["inputs"] if int(i) in tensors]
        writes = [int(i) for i in node["outputs"]]
        values = [i for i in reads if i in flowing] + writes
        weights = dataflow.weights(node, tensors, flowing)
        all_weights.update(weights)
        if name == "STRIDED_SLICE" and reads[3] not in flowing:
            attributes["stride"] = plain.get_tensor(reads[3]).tolist()
        is_float = any(tensors[i]["dtype"] in (np.float32, np.float16) for i in writes)
        facts = {
            "index": index,
            "name": name,
            "types": tuple(np.dtype(tensors[i]["dtype"]).name for i in values),
            "shapes": tuple(dataflow.shape(tensors[i]) for i in values),
            "weight_types": tuple(np.dtype(tensors[i]["dtype"]).name for i in weights),
            "attributes": attributes,
            "sources": tuple(sorted({made.get(i, -1) for i in reads if i in made or i in starts})),
        }
        refused = {delegate: reason for delegate, rule in delegates.RULES.items() if (reason := rule(facts))}
        if index not in taken:
            refused["XNNPACK"] = delegates.refused_by_xnnpack(facts) or "left by XNNPACK, for a reason unknown here"
        operations.append(
            Operation(
                **facts,
                layer=_layer(tensors[writes[0]]["name"]) if writes else "",
                inputs=tuple(_describe(tensors[i]) for i in reads),
                outputs=tuple(_describe(tensors[i]) for i in writes),
                quantization=_quantization(tensors[writes[0]]) if writes else None,
                parameters=sum(dataflow.elements(tensors[i]) for i in weights),
                macs=dataflow.macs(name, [tensors[i] for i in reads], [tensors[i] for i in writes]),
                live_bytes=live[index],
                float_output=is_float and not (name == "DEQUANTIZE" and computed_with.isdisjoint(writes)),
                delegated=index in taken,
                refused=refused,
            )
        )
    counts = Counter(operation.name for operation in operations)
    peak = max(operations, key=lambda operation: operation.live_bytes)
    return {
        "model": str(path),
        "bytes": Path(path).stat().st_size,
        "input": _describe(plain.get_input_details()[0]),
        "output": _describe(plain.get_output_details()[0]),
        "metadata": _metadata(path),
        "ops": dict(sorted(counts.items())),
        "float_ops": sum(operation.float_output for operation in operations),
        "float_islands": dataflow.float_islands(operations),
        "space_to_batch": counts["SPACE_TO_BATCH_ND"] + counts["BATCH_TO_SPACE_ND"],
        "delegated": len(taken),
        "total": len(operations),
        "partitions": partitions,
        "delegates": _delegates(operations, partitions),
        "parameters": sum(dataflow.elements(tensors[i]) for i in all_weights),
        "macs": sum(operation.macs for operation in operations),
        "activation_bytes": sum(dataflow.nbytes(tensors[index]) for index in flowing - starts),
        "peak_bytes": peak.live_bytes,
        "peak_at": peak.index,
        "operations": [asdict(operation) for operation in operations],
    }


def delegation(interpreter) -> tuple[set[int], int]:
    """The indices of the operations that a delegate took, and in how many pieces."""
    details = interpreter._get_ops_details()
    pieces = [op for op in details if op["op_name"] == "DELEGATE"]
    makers = {int(index): op for op in details if op["op_name"] != "DELEGATE" for index in op["outputs"]}
    taken: set[int] = set()
    for piece in pieces:
        border = {int(index) for index in piece["inputs"]}
        open_tensors = [int(index) for index in piece["outputs"]]
        while open_tensors:
            maker = makers.get(open_tensors.pop())
            if maker is not None and int(maker["index"]) not in taken:
                taken.add(int(maker["index"]))
                open_tensors += [int(index) for index in maker["inputs"] if int(index) not in border]
    return taken, len(pieces)


def _attributes(path: str | Path) -> list[dict]:
    """What the file's table of options says of each operation, in the project's words and without the defaults."""
    operators = schema.ModelT.InitFromObj(schema.Model.GetRootAs(Path(path).read_bytes())).subgraphs[0].operators
    found = []
    for operator in operators:
        options = vars(operator.builtinOptions) if operator.builtinOptions else {}
        known = {
            "stride": [options.get("strideH", 1), options.get("strideW", 1)],
            "dilation": [options.get("dilationHFactor", 1), options.get("dilationWFactor", 1)],
            "kernel": [options.get("filterHeight", 1), options.get("filterWidth", 1)],
            "padding": ("SAME", "VALID")[options["padding"]] if "padding" in options else None,
            "activation": ACTIVATIONS[options.get("fusedActivationFunction", 0)],
            "align_corners": options.get("alignCorners"),
            "half_pixel_centers": options.get("halfPixelCenters"),
            "axis": options.get("axis"),
        }
        found.append({key: value for key, value in known.items() if value not in (None, False, [1, 1], "NONE")})
    return found


def _delegates(operations: list[Operation], measured: int) -> dict:
    found = {}
    for delegate in ("XNNPACK", *delegates.RULES):
        reasons: dict[str, Counter] = {}
        for operation in operations:
            if delegate in operation.refused:
                reasons.setdefault(operation.refused[delegate], Counter())[operation.name] += 1
        taken = {operation.index for operation in operations if delegate not in operation.refused}
        pieces = measured if delegate == "XNNPACK" else delegates.partitions(map(vars, operations), taken)
        found[delegate] = {
            "basis": "measured" if delegate == "XNNPACK" else "rules",
            "takes": len(taken),
            "partitions": pieces,
            "leaves": {reason: dict(names) for reason, names in reasons.items()},
        }
    return found


def _layer(tensor_name: str) -> str:
    """The layer that a tensor's name begins with: "stem/BiasAdd;stem/Conv2D" is of `stem`."""
    name = tensor_name.split(";")[0]
    return name.rsplit("/", 1)[0] or name


def _metadata(path: str | Path) -> dict | None:
    found = metadata.read(path)
    if found is None:
        return None
    labels = found["files"].get(metadata.LABELS, "").split("\n")
    return {"name": found.get("name"), "version": found.get("version"), "labels": [label for label in labels if label]}


def _quantization(tensor: dict) -> dict | None:
    parameters = tensor["quantization_parameters"]
    if not len(parameters["scales"]):
        return None
    return {"scale": float(parameters["scales"][0]), "zero_point": int(parameters["zero_points"][0])}


def _describe(tensor: dict) -> str:
    shape = "x".join(str(side) if side >= 0 else "?" for side in dataflow.shape(tensor)) or "scalar"
    return f"{np.dtype(tensor['dtype']).name} {shape}"
