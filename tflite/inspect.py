"""What is inside a `.tflite`: operations, types and shapes, float islands, what delegates take and why not, memory.

`python -m tflite.inspect MODEL.tflite`; `--html` writes it as one page with the graph. With `--rewrites MODEL` it
prints instead what each rewrite does to a network (a preset, run folder or `.keras`) on its way to int8.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_models import command
from keras_models.command import UserError, option
from tflite import metadata, runtime
from tflite.measure import dataflow, delegates

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")


@dataclass(frozen=True)
class InspectOptions:
    """The command's flags."""

    model: str | None = option(None, positional=True, metavar="MODEL.tflite", help="the file to look into")
    json: str | None = option(None, metavar="FILE", help="write the figures here")
    html: str | None = option(None, metavar="FILE", help="write a page with the graph here")
    profile: bool = option(False, help="add the time that each operation takes on this machine")
    every: bool = option(False, flags=("--list",), help="list every operation in order")
    rewrites: str | None = option(None, metavar="MODEL", help="print what each rewrite does to this network")
    target: str = option("any", choices=("any", "accelerator"), help="with --rewrites: as of convert.py")


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

    float_ops: operations that compute in float, without the DEQUANTIZE that writes a float output; float_islands: the
    connected groups of them in a quantized graph. delegated, total: operations that XNNPACK takes, of all; partitions:
    the pieces that it takes them in, measured. delegates: the same by delegate, with the reasons; measured for XNNPACK,
    by rules for the others. peak_bytes: the most that live_bytes reaches, at the operation peak_at; activation_bytes:
    all values together. metadata: the name, version and labels that the file itself states, or None. ModelError for a
    broken file.
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
                float_output=is_float and not (name == "DEQUANTIZE" and ends.issuperset(writes)),
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


def report(found: dict, every: bool = False) -> str:
    """The figures as text; with `every`, each operation in order."""
    lines = [f"{found['model']}: {found['bytes'] / 1024:.0f} KiB, {found['input']} in, {found['output']} out"]
    if found["metadata"]:
        facts = found["metadata"]
        lines.append(f"metadata: {facts['name']} {facts['version'] or ''}, labels {', '.join(facts['labels'])}")
    for name, count in sorted(found["ops"].items(), key=lambda item: -item[1]):
        alike = [operation for operation in found["operations"] if operation["name"] == name]
        types = sorted({text.split()[0] for operation in alike for text in operation["outputs"]})
        left = sum(not operation["delegated"] for operation in alike)
        macs = sum(operation["macs"] for operation in alike)
        share = f"{macs / found['macs']:6.1%} of MACs  " if macs else " " * 16
        lines.append(f"  {name:24s}{count:4d}  {', '.join(types):16s}{share}" + (f"{left} not in XNNPACK" * bool(left)))
    if every:
        lines.append(f"  {'':4s} {'operation':20s} {'MACs':>11s} {'weights':>8s}  values in memory  layer: in -> out")
    for operation in found["operations"] if every else ():
        facts = "".join(f" {key}={_short(value)}" for key, value in operation["attributes"].items())
        scale = operation["quantization"]
        scale = f" scale {scale['scale']:.4g}, zero {scale['zero_point']}" if scale else ""
        lines.append(
            f"  {operation['index']:4d} {operation['name']:20s} {operation['macs']:11,d} {operation['parameters']:8,d} "
            f"{operation['live_bytes'] / 1024:10.0f} KiB  {operation['layer']}: "
            f"{', '.join(operation['inputs'])} -> {', '.join(operation['outputs'])}{scale}{facts}"
            + "".join(
                f" [{who}: {why}]" for who, why in operation["refused"].items() if found["delegates"][who]["takes"]
            )
        )
    lines.append(
        f"{found['parameters']:,} weights, {found['macs'] / 1e6:.1f} million multiply-accumulates; values take "
        f"{found['peak_bytes'] / 1024:.0f} KiB at most, at {_named(found, found['peak_at'])}"
    )
    for island in found["float_islands"]:
        lines.append(f"float island: {len(island['operations'])} operations, {island['begins']} to {island['ends']}")
    for delegate, figures in found["delegates"].items():
        lines.append(
            f"{delegate} ({figures['basis']}): takes {figures['takes']} of {found['total']} "
            f"in {figures['partitions']} partition(s)"
        )
        for reason, names in figures["leaves"].items():
            left = ", ".join(f"{count} {name}" for name, count in names.items())
            if sum(names.values()) == found["total"]:
                left = "all"
            lines.append(f"    leaves {left}: {reason}")
    lines.append(
        f"{found['total']} operations, {found['float_ops']} of them in float, {found['space_to_batch']} SPACE_TO_BATCH;"
        f" XNNPACK takes {found['delegated']} in {found['partitions']} partition(s)"
    )
    return "\n".join(lines)


def _named(found: dict, index: int) -> str:
    operation = found["operations"][index]
    return f"{index} {operation['name']} {operation['layer']}"


def _short(value) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError, or ModelError for a file that cannot be read."""
    options = command.parse(
        InspectOptions,
        argv,
        program="python -m tflite.inspect",
        description=__doc__,
        example="python -m tflite.inspect extremec3-eg1800-int8.tflite --html found.html",
    )
    if bool(options.model) == bool(options.rewrites):
        raise UserError("Give either MODEL.tflite or --rewrites MODEL.")
    if options.rewrites:
        from keras_models import models
        from tflite import graph
        from tflite.graph import rewrite

        print(rewrite.report(graph.read(models.load(options.rewrites)), options.target))
        return 0
    runtime.require_writable(options.json, options.html)
    found = inspect(options.model)
    print(report(found, options.every))
    if options.profile:
        from tflite.measure import profiler

        profile = profiler.profile(options.model)
        print(profiler.report(profile))
        times = {operation["index"]: operation["ms"] for operation in profile["operations"]}
        for operation in found["operations"]:
            operation["ms"] = times.get(operation["index"], 0.0)
    if options.json:
        command.write_text(options.json, json.dumps(found, indent=1) + "\n")
    if options.html:
        from tflite.measure import page

        command.write_text(options.html, page.render(found))
        print(f"page: {options.html}")
    return 0


if __name__ == "__main__":
    command.run(main)
