"""What is inside a `.tflite`: operations, types and shapes, float islands, what XNNPACK takes, memory.

`python -m tflite.inspect MODEL.tflite`; with `--rewrites MODEL` it prints instead what each rewrite does to a network
(a preset, run folder or `.keras`) on its way to int8.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tflite import runtime


@dataclass(frozen=True)
class Operation:
    """One operation: its name, the types and shapes of what it reads (weights included) and writes, and who runs it."""

    index: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    float_output: bool
    delegated: bool


def inspect(path: str | Path) -> dict:
    """The figures of a `.tflite`, as `--json` writes them; `operations` lists every one of them.

    float_ops: operations that compute in float, without the DEQUANTIZE that writes a float output. delegated, total:
    operations that XNNPACK takes, of all. partitions: the pieces that it takes them in. ModelError for a broken file.
    """
    plain = runtime.load_interpreter(path, delegates=False)
    tensors = {int(details["index"]): details for details in plain.get_tensor_details()}
    outputs = {int(details["index"]) for details in plain.get_output_details()}
    delegated, partitions = delegation(runtime.load_interpreter(path))
    operations = []
    for op in plain._get_ops_details():
        writes = [int(index) for index in op["outputs"]]
        is_float = any(tensors[index]["dtype"] in (np.float32, np.float16) for index in writes)
        last = op["op_name"] == "DEQUANTIZE" and outputs.issuperset(writes)
        operations.append(
            Operation(
                int(op["index"]),
                op["op_name"],
                tuple(_describe(tensors[int(index)]) for index in op["inputs"] if int(index) in tensors),
                tuple(_describe(tensors[index]) for index in writes),
                is_float and not last,
                int(op["index"]) in delegated,
            )
        )
    counts = Counter(operation.name for operation in operations)
    written = {int(index) for op in plain._get_ops_details() for index in op["outputs"]}
    return {
        "model": str(path),
        "bytes": Path(path).stat().st_size,
        "input": _describe(plain.get_input_details()[0]),
        "output": _describe(plain.get_output_details()[0]),
        "ops": dict(sorted(counts.items())),
        "float_ops": sum(operation.float_output for operation in operations),
        "space_to_batch": counts["SPACE_TO_BATCH_ND"] + counts["BATCH_TO_SPACE_ND"],
        "delegated": len(delegated),
        "total": len(operations),
        "partitions": partitions,
        "activation_bytes": sum(_bytes(tensors[index]) for index in written),
        "operations": [vars(operation) for operation in operations],
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


def _describe(tensor: dict) -> str:
    shape = "x".join(str(side) for side in tensor["shape"]) or "scalar"
    return f"{np.dtype(tensor['dtype']).name} {shape}"


def _bytes(tensor: dict) -> int:
    return int(np.prod(tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises ModelError for a file that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m tflite.inspect",
        description=__doc__,
        epilog="example:\n  python -m tflite.inspect extremec3-eg1800-int8.tflite --json found.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", metavar="MODEL.tflite", help="the file to look into")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--list", action="store_true", help="list every operation in order")
    parser.add_argument("--rewrites", metavar="MODEL", help="print what each rewrite does to this network")
    options = parser.parse_args(argv)
    if bool(options.model) == bool(options.rewrites):
        parser.error("give either MODEL.tflite or --rewrites MODEL")
    if options.rewrites:
        return _print_rewrites(options.rewrites)
    found = inspect(options.model)
    print(f"{options.model}: {found['bytes'] / 1024:.0f} KiB, {found['input']} in, {found['output']} out")
    for name, count in sorted(found["ops"].items(), key=lambda item: -item[1]):
        alike = [operation for operation in found["operations"] if operation["name"] == name]
        types = sorted({text.split()[0] for operation in alike for text in operation["outputs"]})
        left = sum(not operation["delegated"] for operation in alike)
        print(f"  {name:24s}{count:4d}  {', '.join(types):16s}" + (f"{left} not in XNNPACK" if left else ""))
    if options.list:
        for operation in found["operations"]:
            inputs, outputs = ", ".join(operation["inputs"]), ", ".join(operation["outputs"])
            print(f"  {operation['index']:4d} {operation['name']:20s} {inputs} -> {outputs}")
    print(
        f"{found['total']} operations, {found['float_ops']} of them in float, {found['space_to_batch']} SPACE_TO_BATCH;"
        f" XNNPACK takes {found['delegated']} in {found['partitions']} partition(s)"
    )
    if options.json:
        runtime.write_whole(options.json, (json.dumps(found, indent=1) + "\n").encode())
    return 0


def _print_rewrites(source: str) -> int:
    from keras_models.presets import load_model
    from tflite import graph, rewrite

    try:
        network = graph.read(load_model(source))
    except ValueError as error:
        raise runtime.ModelError(str(error)) from error
    print(rewrite.report(network))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main))
