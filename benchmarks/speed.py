"""How many frames a second? Every network in float and int8, on one thread and on all: `python -m benchmarks.speed`.

    python -m benchmarks.speed --convert            # first: makes the files, which takes minutes
    python -m benchmarks.speed                      # then, with nothing else running: times those without times
    python -m benchmarks.speed --arm Cortex-A76     # counts the ARM instructions of int8 under qemu

Weights are random, but varied as trained ones are: times do not depend on them. All networks have one input size, so
that they compare; `--input-size own` takes the published ones. Each network's four forms and a reference network are
timed in one interleaved run, so that networks compare by their ratio to the reference even when the machine's speed
drifts between them. Each finished network is kept: a run that is cut off goes on. Writes results/speed.json;
`python -m benchmarks.report` sets it beside the papers' figures.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine, markdown
from keras_models import command, registry
from keras_models.command import UserError, option

FORMS = ("float32", "int8")
REFERENCE = "pocketnet_plain"  # its int8 file on one thread
LEAST, MOST = 5, 200  # timed runs of each form


@dataclass(frozen=True)
class SpeedOptions:
    """The command's flags."""

    networks: tuple[str, ...] = option((), positional=True, metavar="NAME", help="which ones (default: all)")
    below: float = option(5e6, above=0, help="networks of fewer parameters alone, where none is named")
    input_size: str = option("224", metavar="SIDE | own", help="of all networks, rounded to what each can take")
    convert: bool = option(False, help="make the files that are missing, and stop")
    arm: tuple[str, ...] = option((), metavar="PROCESSOR,...", help="count instructions on these emulated processors")
    seconds: float = option(3.0, above=0, help="of timing for each network")
    folder: str = option("build/speed", metavar="DIR", help="where the .tflite files are kept")


def main(argv: list[str] | None = None) -> int:
    """Convert, time or count what is missing."""
    options = command.parse(
        SpeedOptions,
        argv,
        program="python -m benchmarks.speed",
        description=__doc__,
        example="python -m benchmarks.speed extremec3 pocketnet_m --convert",
    )
    names = chosen(options.networks, options.below)
    sizes = {name: input_size(name, options.input_size) for name in dict.fromkeys((REFERENCE, *names))}
    files = {name: paths(Path(options.folder), name, size) for name, size in sizes.items()}
    if options.convert:
        return convert([(name, sizes[name], files[name]) for name in files])
    ready = [name for name in names if all(path.is_file() for path in files[name].values())]
    if not ready or not all(path.is_file() for path in files[REFERENCE].values()):
        raise UserError(f"There are no files in {options.folder} yet: add --convert once.")
    if len(ready) < len(names):
        print(f"without files, left out: {', '.join(sorted(set(names) - set(ready)))}")
    result = machine.kept("speed", () if options.arm else machine.TIMING)
    rows = {row["network"]: row for row in result.get("rows", ())}
    for name in ready:
        row = rows.get(name, {})
        if row.get("input_size") != list(sizes[name]):
            row = {"network": name, "input_size": list(sizes[name])}
        if options.arm:
            row = row | {"instructions": instructions(files[name]["int8"], options.arm, row.get("instructions", {}))}
        elif "times" in row:
            continue
        else:
            row = row | measured(files[name], files[REFERENCE]["int8"], options.seconds)
        rows[name] = row
        print(json.dumps(row), flush=True)
        order = sorted(rows, key=lambda name: registry.network(name).parameters)
        machine.write("speed", result | {"reference": REFERENCE, "rows": [rows[name] for name in order]})
    return 0


def chosen(networks: tuple[str, ...], below: float) -> list[str]:
    """The named networks, or all segmenters of fewer than `below` parameters, the smallest first."""
    if unknown := set(networks) - set(registry.names()):
        raise UserError(f"Unknown networks. Valid names: {', '.join(registry.names())}. Received: {', '.join(unknown)}")
    rows = [registry.network(name) for name in networks or registry.names()]
    fitting = [row for row in rows if networks or (row.task == "segmentation" and row.parameters < below)]
    return [row.name for row in sorted(fitting, key=lambda row: row.parameters)]


def input_size(name: str, wanted: str) -> tuple[int, int]:
    """Height and width of a network: its own, or the nearest to the square of side `wanted` that it can take."""
    row = registry.network(name)
    if wanted == "own":
        return row.input_size
    if not wanted.isdecimal() or int(wanted) == 0:
        raise UserError(f"--input-size is a side in pixels, or own. Received: {wanted!r}")
    return (max(1, round(int(wanted) / row.multiple)) * row.multiple,) * 2


def paths(folder: Path, name: str, size: tuple[int, int]) -> dict[str, Path]:
    """Where a network's files are."""
    return {form: folder / f"{name}-{size[0]}x{size[1]}-{form}.tflite" for form in FORMS}


def convert(jobs: list[tuple]) -> int:
    """Make the files that are missing, each network in a process of its own; 1 when one cannot be converted."""
    missing = [job for job in jobs if not all(path.is_file() for path in job[2].values())]
    failed = False
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for number, (job, reason) in enumerate(zip(missing, pool.map(make, missing), strict=True), start=1):
            print(f"{number} of {len(missing)}: {job[0]} {reason or 'done'}", flush=True)
            failed = failed or bool(reason)
    return int(failed)


def make(job: tuple[str, tuple[int, int], dict[str, Path]]) -> str:
    """Write a network's float32 and int8 files; why it could not be done, or nothing."""
    from keras_models import build

    name, size, files = job
    return write_files(lambda: build(name, input_size=size), files)


def write_files(build: Callable, files: dict[str, Path]) -> str:
    """Write the forms of `files` (float32, int8) of the network that `build()` gives; why not, or nothing.

    Its slopes and normalisations get the variety of trained ones: with those of a fresh network, operations merge.
    """
    import keras

    from tests import small
    from tflite import graph
    from tflite.graph import rewrite
    from tflite.quantize import converter, repair

    keras.utils.set_random_seed(0)
    try:
        model = small.looks_trained(build())
        network, photos = graph.read(model), small.photos(4, model.input_shape[1:3])
        makers = {
            "int8": lambda: repair.to_int8(rewrite.rewrite(network, photos), photos)[0],
            "float32": lambda: converter.to_tflite(rewrite.rewrite(network), "float32"),
        }
        made = {form: makers[form]() for form in files}
    except ValueError as error:
        return str(error)
    for form, path in files.items():
        with command.whole_file(path) as temporary:
            temporary.write_bytes(made[form])
    return ""


def measured(files: dict[str, Path], reference: Path, seconds: float) -> dict:
    """Median milliseconds of each form by its number of threads, and of the reference, in one interleaved run."""
    threads = sorted({1, os.cpu_count() or 1})
    jobs = {(form, n): runner(path, n) for form, path in files.items() for n in threads}
    jobs["reference", 1] = runner(reference, 1)
    taken = {job: [] for job in jobs}
    for run in jobs.values():
        run()
    ends = time.monotonic() + seconds
    while len(taken["reference", 1]) < LEAST or (time.monotonic() < ends and len(taken["reference", 1]) < MOST):
        for job, run in jobs.items():
            taken[job].append(run())
    medians = {job: float(np.median(values)) for job, values in taken.items()}
    return {
        "times": [{"form": form, "threads": n, "median_ms": medians[form, n]} for form in files for n in threads],
        "bytes": {form: path.stat().st_size for form, path in files.items()},
        "reference_ms": medians["reference", 1],
        "runs": len(taken["reference", 1]),
    }


def runner(path: Path, threads: int) -> Callable[[], float]:
    """A function that runs a model once and returns its milliseconds."""
    from tflite import runtime

    interpreter = runtime.load_interpreter(path, threads)
    details = interpreter.get_input_details()[0]
    pixels = np.random.default_rng(0).integers(0, 256, details["shape"])
    real = np.issubdtype(details["dtype"], np.floating)
    interpreter.set_tensor(details["index"], (pixels / 255 if real else pixels).astype(details["dtype"]))

    def run() -> float:
        started = time.perf_counter()
        interpreter.invoke()
        return (time.perf_counter() - started) * 1000

    return run


def instructions(file: Path, processors: tuple[str, ...], known: dict[str, int]) -> dict[str, int]:
    """Instructions of an inference of a `.tflite` by processor; those in `known` are not counted again."""
    from benchmarks import arm64
    from benchmarks.instructions import counter

    if unknown := set(processors) - set(arm64.PROCESSORS):
        raise UserError(f"--arm takes {', '.join(arm64.PROCESSORS)}. Received: {', '.join(unknown)}")
    missing = tuple(processor for processor in processors if processor not in known)
    if not missing:
        return known
    with counter(Path("build/arm64").resolve(), missing, many=4) as counted:
        return known | {name: each["instructions"] for name, each in counted(str(file)).items()}


# -- The table ---------------------------------------------------------------------------------------------------------

# Frames a second as printed: network -> (paper, figure, hardware).
PRINTED = {
    "EOAM's poster, a CPU": {
        "enet": "8.06",
        "bisenet": "2.99",
        "espnet_c": "6.99",
        "portraitnet": "3.30",
        "ds_espnet": "7.75",
        "ds_espnet_half": "9.26",
        "espnetv2_15": "4.95",
        "espnetv2": "3.65",
        "contextnet12": "1.55",
        "mobilenetv3": "10.87",
        "sinet": "12.35",
        "eoam": "39.02",
    },
    "ExtremeC3Net, i7-9700, PyTorch": {"portraitnet": "8.4", "extremec3": "16.1"},  # 0.119 s and 0.062 s
    "LIP-Net, 512x512": {"fcn8s": "2", "segnet": "16.7", "deeplabv2": "2.4", "lipnet": "49"},
}


def table(result: dict) -> str:
    """Markdown: frames a second here, the time as a multiple of the reference's, instructions, the papers' figures."""
    threads = sorted({t["threads"] for row in result["rows"] for t in row.get("times", ())})
    processors = list(dict.fromkeys(p for row in result["rows"] for p in row.get("instructions", {})))
    header = [
        "network",
        "input",
        "parameters",
        *(f"{form}, {n} thread{'s' * (n > 1)}" for form in FORMS for n in threads),
    ]
    header += [f"int8 x {result['reference']}", *(f"int8, {name}, M instructions" for name in processors)]
    header += [f"printed: {where}" for where in PRINTED]
    lines = []
    for row in result["rows"]:
        ms = {(t["form"], t["threads"]): t["median_ms"] for t in row.get("times", ())}
        if not ms:
            continue
        counts = row.get("instructions", {})
        lines.append(
            [
                row["network"],
                "x".join(map(str, row["input_size"])),
                f"{registry.network(row['network']).parameters:,}",
                *(f"{1000 / ms[form, n]:,.0f}" for form in FORMS for n in threads),
                f"{ms['int8', 1] / row['reference_ms']:.2f}",
                *(f"{counts[name] / 1e6:.1f}" if name in counts else "-" for name in processors),
                *(figures.get(row["network"], "-") for figures in PRINTED.values()),
            ]
        )
    caption = (
        f"Frames a second of the network alone, LiteRT {result['machine']['ai-edge-litert']} with XNNPACK on "
        f"{markdown.machine(result)}; float32 and int8, random weights. Each row was timed in one run interleaved "
        f"with {result['reference']}'s int8 file, of whose time the column `x` gives the multiple: it compares rows "
        "better than frames a second do. The printed figures are of other hardware and frameworks."
    )
    return f"{markdown.table(header, lines)}\n\n{caption}"


if __name__ == "__main__":
    command.run(main)
