"""Where the milliseconds go: each operation of a `.tflite` timed inside LiteRT, XNNPACK's own operators included.

`profile(path)` is what `python -m tflite.benchmark MODEL --profile` prints. The Python interpreter has no profiler, so
this drives the C API of the libLiteRt that the ai-edge-litert package ships. Its headers are public, but its binary
interface may change with any release: the calls run in a process of their own, hand over opaque handles wherever they
can, and whatever goes wrong there, a crash included, becomes one ModelError.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import multiprocessing
import os
import re
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from tflite import runtime

TESTED = ("2.2", "2.3")  # releases of ai-edge-litert that this was run with; 2.1 leaves out what XNNPACK runs

# Which of a file's operations an operator of XNNPACK can belong to, where the names do not tell.
BELONGS = {
    "Convolution": ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    "Fully Connected": ("FULLY_CONNECTED", "CONV_2D"),
    "Deconvolution": ("TRANSPOSE_CONV",),
    "Subtract": ("SUB",),
    "Multiply": ("MUL",),
    "Divide": ("DIV",),
    "Static Reshape": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    "Copy": ("CONCATENATION", "RESHAPE", "PAD", "SLICE", "STRIDED_SLICE", "SPLIT"),
    "Constant Pad": ("PAD",),
    "Clamp": ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"),
    "Sigmoid": ("LOGISTIC",),
    "Convert": ("QUANTIZE", "DEQUANTIZE"),
    "Average Pooling": ("AVERAGE_POOL_2D", "MEAN"),
    "Global Average Pooling": ("MEAN", "AVERAGE_POOL_2D"),
    "Max Pooling": ("MAX_POOL_2D",),
    "Reduce": ("MEAN", "SUM"),
}


def profile(path: str | Path, threads: int = 1, runs: int = 50, warmup: int = 10) -> dict:
    """The fastest of `runs` runs of each operator, in ms, as `--json` writes them.

    The least, not the median: another program interrupts a run at much the same place each time, and an operator that
    takes 30 microseconds would be charged with its milliseconds.

    wall_ms: the fastest whole run, with the profiler on; total_ms: the sum of the operators
    types: the operators by type, the most expensive first: type, count, ms and share (of total_ms)
    operators: each one that ran, in order: type, ms, delegated (to XNNPACK) and `operation`, the index of the file's
    operation that it belongs to, found by the order and the types of both; None where none fits
    operations: the same times by operation of the file: index, name, output (the tensor's name) and ms
    engine: the library and its version

    Raises ModelError for a broken file, or when the library is missing, refuses or crashes.
    """
    operations = _operations(runtime.load_interpreter(path, delegates=False))
    library, version = _library()
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 2):
        raise runtime.ModelError(
            f"ai-edge-litert {version} does not time what XNNPACK runs. Run: pip install 'ai-edge-litert>=2.2'"
        )
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows, times, wall_ms = pool.submit(_run, library, str(path), threads, runs, warmup).result()
    except (BrokenProcessPool, AttributeError, RuntimeError) as error:
        raise runtime.ModelError(
            f"{path} could not be profiled with ai-edge-litert {version}: {error} "
            f"Tried with {', '.join(TESTED)}; run: pip install 'ai-edge-litert=={TESTED[-1]}.*'"
        ) from error
    operators = [
        {"type": kind, "ms": float(ms), "delegated": delegated, "operation": None}
        for (kind, delegated), ms in zip(rows, np.min(times, axis=0), strict=True)
    ]
    _assign(operators, operations)
    total = sum(operator["ms"] for operator in operators)
    by_type, by_operation = Counter(), Counter()
    for operator in operators:
        by_type[operator["type"]] += operator["ms"]
        by_operation[operator["operation"]] += operator["ms"]
    count = Counter(operator["type"] for operator in operators)
    return {
        "model": str(path),
        "engine": f"libLiteRt {version}",
        "threads": threads,
        "runs": runs,
        "wall_ms": wall_ms,
        "total_ms": total,
        "types": [
            {"type": kind, "count": count[kind], "ms": ms, "share": ms / total if total else 0.0}
            for kind, ms in by_type.most_common()
        ],
        "operators": operators,
        "operations": [{**operation, "ms": by_operation[operation["index"]]} for operation in operations],
    }


def report(found: dict, slowest: int = 10) -> str:
    """The profile as text: by type, then the slowest operations of the file."""
    lines = [
        f"{found['model']}: {found['total_ms']:.2f} ms in {len(found['operators'])} operators on {found['threads']} "
        f"thread(s), {found['wall_ms']:.2f} ms a run; the fastest of {found['runs']} ({found['engine']})"
    ]
    lines += [
        f"  {row['ms']:8.3f} ms {row['share']:6.1%} {row['count']:4d} x {row['type']}"
        for row in found["types"]
        if row["share"] >= 0.001
    ]
    lines.append("slowest operations of the file:")
    operations = sorted(found["operations"], key=lambda operation: -operation["ms"])
    lines += [
        f"  {operation['ms']:8.3f} ms {operation['ms'] / found['total_ms']:6.1%} {operation['index']:4d} "
        f"{operation['name']:20s} {operation['output']}"
        for operation in operations[:slowest]
    ]
    unassigned = sum(operator["ms"] for operator in found["operators"] if operator["operation"] is None)
    if unassigned:
        lines.append(f"  {unassigned:8.3f} ms in operators that belong to none of them for sure")
    return "\n".join(lines)


def _operations(interpreter) -> list[dict]:
    names = {int(details["index"]): details["name"] for details in interpreter.get_tensor_details()}
    return [
        {"index": int(op["index"]), "name": op["op_name"], "output": names[int(op["outputs"][0])].split(";")[0]}
        for op in interpreter._get_ops_details()
        if len(op["outputs"])
    ]


def _assign(operators: list[dict], operations: list[dict]) -> None:
    """Fill in `operation`: both lists are in the order of execution, so match them like two texts that differ a little.

    Several operators may belong to one operation (a concatenation copies each of its inputs) and some operations have
    none of their own (XNNPACK merges them); the alignment with the most matches wins, one to one before many to one.
    """
    fits = np.array([[_fits(operator, operation) for operation in operations] for operator in operators])
    best = np.zeros((len(operators) + 1, len(operations) + 1))
    moves = np.zeros(best.shape, np.int8)  # 0: operator left out, 1: operation left out, 2: match, 3: one more of it
    moves[0, 1:] = 1
    for i in range(1, len(operators) + 1):
        for j in range(1, len(operations) + 1):
            options = [best[i - 1, j], best[i, j - 1]]
            if fits[i - 1, j - 1]:
                options += [best[i - 1, j - 1] + 1, best[i - 1, j] + 0.5 if moves[i - 1, j] >= 2 else -1]
            moves[i, j] = int(np.argmax(options))
            best[i, j] = options[moves[i, j]]
    i, j = len(operators), len(operations)
    while i:
        move = moves[i, j]
        if move >= 2:
            operators[i - 1]["operation"] = operations[j - 1]["index"]
        i, j = i - (move != 1), j - (move in (1, 2))


def _fits(operator: dict, operation: dict) -> bool:
    kind = operator["type"].split(" (")[0]
    if not operator["delegated"]:
        return kind == operation["name"]
    plain = operation["name"].replace("_", "").removesuffix("ND")
    return operation["name"] in BELONGS.get(kind, ()) or kind.replace(" ", "").upper() == plain


def _library() -> tuple[str, str]:
    """The path of libLiteRt and the version of the package that it is from."""
    package = importlib.util.find_spec("ai_edge_litert")
    folder = Path(package.submodule_search_locations[0]) if package else None
    found = sorted(folder.glob("libLiteRt.*")) if folder else []
    if not found:
        raise runtime.ModelError(
            "--profile needs libLiteRt, which the package ai-edge-litert ships since 2.0; the interpreter here has "
            f"none. Run: pip install 'ai-edge-litert=={TESTED[-1]}.*'"
        )
    return str(found[0]), importlib.metadata.version("ai-edge-litert")


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_bool, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element_type", ctypes.c_int), ("layout", _Layout))


ELEMENT_TYPES = {"float32": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


def _run(library: str, path: str, threads: int, runs: int, warmup: int):
    """In a process of its own: [(type, delegated)] of the operators, their ms (runs, operators), a whole run's ms."""
    _silence_stderr()
    functions = ctypes.CDLL(library)

    def call(name: str, *arguments) -> None:
        function = getattr(functions, name)
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status:
            raise RuntimeError(f"{name} answered status {status}.")

    def make(name: str, *arguments) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        call(name, *arguments, ctypes.byref(handle))
        return handle

    keep = []  # what the library refers to until the process ends
    forget = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
    environment = make("LiteRtCreateEnvironment", 0, None)
    model = make("LiteRtCreateModelFromFile", environment, path.encode())
    options = make("LiteRtCreateOptions")
    call("LiteRtSetOptionsHardwareAccelerators", options, 1)  # 1: the CPU
    for group, text in (
        ("runtime_options_string", "enable_profiling = true\n"),
        ("xnnpack", f"num_threads = {threads}\n"),
    ):
        payload = ctypes.create_string_buffer(text.encode())
        keep.append(payload)
        call(
            "LiteRtAddOpaqueOptions",
            options,
            make("LiteRtCreateOpaqueOptions", group.encode(), ctypes.cast(payload, ctypes.c_void_p), forget),
        )
    compiled = make("LiteRtCreateCompiledModel", environment, model, options)
    profiler = make("LiteRtCompiledModelGetProfiler", compiled)
    interpreter = runtime.load_interpreter(path)
    zero = ctypes.c_size_t(0)

    def buffers(kind: str, all_details: list[dict]):
        handles = (ctypes.c_void_p * len(all_details))()
        for i, details in enumerate(all_details):
            needs = make(f"LiteRtGetCompiledModel{kind}BufferRequirements", compiled, zero, ctypes.c_size_t(i))
            tensor = _TensorType(ELEMENT_TYPES[np.dtype(details["dtype"]).name])
            tensor.layout.rank = len(details["shape"])
            tensor.layout.dimensions[: len(details["shape"])] = [int(side) for side in details["shape"]]
            create = "LiteRtCreateManagedTensorBufferFromRequirements"
            handles[i] = make(create, environment, ctypes.byref(tensor), needs).value
        return ctypes.c_size_t(len(all_details)), handles

    tensors = (*buffers("Input", interpreter.get_input_details()), *buffers("Output", interpreter.get_output_details()))
    for _ in range(warmup):
        call("LiteRtRunCompiledModel", compiled, zero, *tensors)
    rows, times, walls = None, [], []
    for _ in range(runs):
        call("LiteRtResetProfiler", profiler)
        call("LiteRtStartProfiler", profiler)
        started = time.perf_counter()
        call("LiteRtRunCompiledModel", compiled, zero, *tensors)
        walls.append((time.perf_counter() - started) * 1000)
        call("LiteRtStopProfiler", profiler)
        summary = ctypes.c_char_p()
        call("LiteRtGetProfileSummary", profiler, compiled, ctypes.byref(summary))
        row, ms = _parse(summary.value.decode())
        if rows not in (None, row):
            raise RuntimeError("two runs reported different operators.")
        rows = row
        times.append(ms)
    if not rows:
        raise RuntimeError("the profiler reported no operators.")
    return rows, np.array(times), min(walls)


def _silence_stderr() -> None:
    """The library logs what it loads; an error comes back as a status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _parse(summary: str) -> tuple[list[tuple[str, bool]], list[float]]:
    """[(type, delegated)] and their ms, in the order in which they ran, from the summary's first table."""
    table = re.search(r"Run Order =*\n[^\n]*\n(.*?)\n\s*\n", summary, re.DOTALL)
    rows, times = [], []
    for line in table[1].splitlines() if table else []:
        kind, _start, _first, average = re.match(r"\s*(\S.*?)((?:\s+[\d.]+){2})\s+([\d.]+)", line).group(1, 2, 2, 3)
        delegated = kind.startswith("Delegate/")
        rows.append((kind.removeprefix("Delegate/"), delegated))
        times.append(float(average))
    return rows, times
