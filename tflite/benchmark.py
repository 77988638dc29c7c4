"""Time converted networks on this machine: `python -m tflite.benchmark a.tflite b.tflite --threads 1,2`.

Several models are timed in turn, run by run, so that a change of the machine's speed meets them all alike; the ratios
are those of one round, and their median is printed. On a device without Keras and TensorFlow copy the folder tflite/.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import multiprocessing
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tflite import runtime
from tflite.measure import plot
from tflite.phone import adb

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measure(paths: list[str], threads: int, runs: int, warmup: int) -> list[dict]:
    """One dict per model: median, p90, p99 and mean in ms, its speed as a multiple of the first model's."""
    interpreters = [runtime.load_interpreter(path, threads) for path in paths]
    for interpreter in interpreters:
        _fill(interpreter)
        for _ in range(warmup):
            interpreter.invoke()
    times = np.zeros((runs, len(paths)))
    for run in range(runs):
        for i, interpreter in enumerate(interpreters):
            started = time.perf_counter()
            interpreter.invoke()
            times[run, i] = (time.perf_counter() - started) * 1000
    return [
        {
            "model": str(path),
            "threads": threads,
            "runs": runs,
            "median_ms": float(np.median(column)),
            "p90_ms": float(np.percentile(column, 90)),
            "p99_ms": float(np.percentile(column, 99)),
            "min_ms": float(column.min()),
            "speed": float(np.median(times[:, 0] / column)),
        }
        for path, column in zip(paths, times.T, strict=True)
    ]


def cold_start(path: str, threads: int = 1) -> dict:
    """Load and first inference in ms and the memory that they took in MiB, in a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_cold_start, (path, threads))


def _cold_start(path: str, threads: int) -> dict:
    runtime.interpreter_module()  # importing it is Python's start, not the model's
    before = _peak_memory_kib()
    started = time.perf_counter()
    interpreter = runtime.load_interpreter(path, threads)
    loaded = time.perf_counter()
    _fill(interpreter)
    filled = time.perf_counter()
    interpreter.invoke()
    return {
        "threads": threads,
        "load_ms": (loaded - started) * 1000,
        "first_ms": (time.perf_counter() - filled) * 1000,
        "memory_mib": None if before is None else (_peak_memory_kib() - before) / 1024,
    }


def _peak_memory_kib(status: Path = Path("/proc/self/status")) -> int | None:
    """The most memory that this process held, None on Windows.

    Linux carries getrusage's figure over from the parent, so its own `status` is asked.
    """
    if status.is_file():
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text(encoding="utf-8"))[1])
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most  # which counts bytes


def sustain(paths: list[str], threads: int, minutes: float) -> dict:
    """Runs all models in turn for `minutes` and says what each second of it was like.

    `samples`: minute, ms (the median of each model in that second), celsius (the hottest sensor) and mhz (the mean of
    the cores' clocks); the last two are None where the machine does not tell.
    """
    interpreters = [runtime.load_interpreter(path, threads) for path in paths]
    for interpreter in interpreters:
        _fill(interpreter)
    samples, started = [], time.monotonic()
    while (elapsed := time.monotonic() - started) < minutes * 60 or not samples:
        times = [[] for _ in interpreters]
        while time.monotonic() - started < min(elapsed + 1, minutes * 60) or not times[0]:
            for interpreter, column in zip(interpreters, times, strict=True):
                begun = time.perf_counter()
                interpreter.invoke()
                column.append((time.perf_counter() - begun) * 1000)
        samples.append(
            {
                "minute": elapsed / 60,
                "ms": [float(np.median(column)) for column in times],
                "celsius": _reading("/sys/class/thermal/thermal_zone*/temp", max),
                "mhz": _reading("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq", np.mean),
            }
        )
    return {"models": [str(path) for path in paths], "threads": threads, "minutes": minutes, "samples": samples}


def _reading(pattern: str, summary) -> float | None:
    """The `summary` of the sensors under /sys, which count in thousandths, or None where no sensor can be read."""
    values = []
    for path in Path("/").glob(pattern.lstrip("/")):
        with contextlib.suppress(OSError, ValueError):
            values.append(int(path.read_text(encoding="utf-8")) / 1000)
    return float(summary(values)) if values else None


def _fill(interpreter) -> None:
    """Random pixels into every input."""
    generator = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        values = generator.integers(0, 256, details["shape"])
        if details["dtype"] == np.float32:
            values = values / 255
        elif details["dtype"] == np.int8:
            values = values - 128
        interpreter.set_tensor(details["index"], values.astype(details["dtype"]))


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises ModelError for a file that cannot be run."""
    parser = argparse.ArgumentParser(
        prog="python -m tflite.benchmark",
        description=__doc__,
        epilog="example:\n  python -m tflite.benchmark float32.tflite int8.tflite --threads 1,2 --json speed.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help=".tflite files; the first is the one to compare with"
    )
    parser.add_argument("--threads", type=_numbers, default=[1], metavar="N,N", help="thread counts (default: 1)")
    parser.add_argument("--runs", type=_positive, default=100, help="timed runs per model (default: 100)")
    parser.add_argument("--warmup", type=_positive, default=10, help="runs before, not timed (default: 10)")
    parser.add_argument("--profile", action="store_true", help="time each operation instead (needs ai-edge-litert)")
    parser.add_argument("--minutes", type=_minutes, metavar="M", help="also run without a pause, for M minutes")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--csv", metavar="FILE", help="write the table here")
    parser.add_argument("--plot", metavar="FILE", help="draw the table, or the curve of --minutes (.svg, .png, .pdf)")
    adb.add_options(parser)
    options = parser.parse_args(argv)
    if options.profile and (options.csv or options.plot or options.minutes):
        parser.error("--profile goes with --json alone")
    plot.require(options.plot)
    runtime.require_writable(options.json, options.csv, options.plot)
    if adb.chosen(options):
        return adb.main(options)
    figures = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}
    if options.profile:
        figures["profiles"] = _print_profiles(options)
    else:
        figures |= _print_times(options)
    if options.minutes:
        figures["sustained"] = _print_sustained(options)
    if options.json:
        runtime.write_whole(options.json, (json.dumps(figures, indent=1) + "\n").encode())
    if options.csv:
        runtime.write_whole(options.csv, _table(figures["runs"]).encode())
    if options.plot:
        plot.write(options.plot, _draw(figures))
    return 0


def _print_times(options: argparse.Namespace) -> dict:
    runs = []
    print(f"{'model':32s} threads  median     p90     p99 ms   speed")
    for threads in options.threads:
        for run in measure(options.models, threads, options.runs, options.warmup):
            runs.append(run)
            name = Path(run["model"]).name
            print(
                f"{name:32s} {threads:7d} {run['median_ms']:7.2f} {run['p90_ms']:7.2f} {run['p99_ms']:7.2f}"
                f" {run['speed']:10.2f}x"
            )
    starts = [{"model": str(path), **cold_start(path)} for path in options.models]
    for start in starts:
        name = Path(start["model"]).name
        print(
            f"{name:32s} cold start: load {start['load_ms']:.1f} ms, first run {start['first_ms']:.1f} ms"
            + (f", {start['memory_mib']:.1f} MiB" if start["memory_mib"] is not None else "")
        )
    return {"runs": runs, "cold_start": starts}


def _print_profiles(options: argparse.Namespace) -> list[dict]:
    from tflite.measure import profiler

    profiles = []
    for threads in options.threads:
        for model in options.models:
            profiles.append(profiler.profile(model, threads, options.runs, options.warmup))
            print(profiler.report(profiles[-1]))
    return profiles


def _print_sustained(options: argparse.Namespace) -> dict:
    print(f"{options.minutes:g} minutes without a pause on {options.threads[-1]} thread(s) ...", flush=True)
    found = sustain(options.models, options.threads[-1], options.minutes)
    samples = found["samples"]
    tenth = max(1, len(samples) // 10)
    for i, model in enumerate(found["models"]):
        first, last = (np.median([sample["ms"][i] for sample in part]) for part in (samples[:tenth], samples[-tenth:]))
        print(f"{Path(model).name:32s} {first:.2f} ms at first, {last:.2f} ms at last ({last / first:.2f}x)")
    for key, unit in (("celsius", "degrees C"), ("mhz", "MHz")):
        if samples[0][key] is not None and samples[-1][key] is not None:
            print(f"{samples[0][key]:.0f} {unit} at first, {samples[-1][key]:.0f} at last")
    return found


def _table(runs: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(runs[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(runs)
    return text.getvalue()


def _draw(figures: dict) -> Figure:
    if "sustained" not in figures:
        return plot.bars(
            [
                (f"{Path(run['model']).name}, {run['threads']} thread(s)", run["median_ms"], run["p90_ms"])
                for run in figures["runs"]
            ]
        )
    samples = figures["sustained"]["samples"]
    key, unit = ("celsius", "degrees C") if samples[0]["celsius"] is not None else ("mhz", "MHz")
    series = {
        Path(model).name: [sample["ms"][i] for sample in samples]
        for i, model in enumerate(figures["sustained"]["models"])
    }
    return plot.curve([s["minute"] for s in samples], series, "ms", [s[key] for s in samples], unit)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def _numbers(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(runtime.run(main))
