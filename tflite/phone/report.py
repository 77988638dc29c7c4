"""What the phone prints, read as numbers; the numbers as lines, a CSV table and a picture."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tflite.measure import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPERATURES = {0: "cpu", 1: "gpu", 2: "battery", 3: "skin", 9: "npu"}  # android.hardware.thermal's TemperatureType
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")  # of throttling
KINDS = ("cpu", "gpu", "npu", "skin", "battery")
COLUMNS = (
    "kind", "seconds", "model", "delegate", "threads", "cores", "runs", "median_ms", "p90_ms", "p5_ms", "p95_ms",
    "mean_ms", "min_ms", "max_ms", "std_ms", "load_ms", "first_ms", "memory_mib", "delegated", "total", "partitions",
    "power_w", "energy_mj", "thermal_status", *(f"{kind}_c" for kind in KINDS), "refused",
)  # fmt: skip


def parse_run(status: int, output: str, delegate: str) -> dict:
    """benchmark_model's output as a dict, times in ms; `{"refused": sentence}` where it did not run, or not so."""
    counts = re.findall(r"count=(\d+) (.*)", output)
    if status or len(counts) < 2:  # the warm-up, then the run
        errors = re.findall(r"ERROR: (?!Benchmarking failed)(.*[^:\n])$", output, re.MULTILINE)
        said = (errors[0] if errors else last_line(output)).rstrip(".")
        return {"refused": f"The run failed: {said}. {_why(output)}".rstrip()}
    replaced = [
        (int(taken), int(all_nodes), int(partitions))
        for taken, all_nodes, name, partitions in re.findall(
            r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions", output
        )
        if ("xnnpack" in name.lower()) == (delegate == "cpu")  # XNNPACK takes what the other delegate leaves
    ]
    split = re.search(r"(\d+) operations will run on the GPU, and the remaining (\d+)", output)
    if not replaced and split and delegate == "gpu":
        replaced = [(int(split[1]), int(split[1]) + int(split[2]), None)]
    delegated, nodes = sum(taken for taken, _, _ in replaced), sum(total for _, total, _ in replaced)
    if delegate != "cpu":
        applied = re.search(r"Explicitly applied \S+ delegate", output)
        if (
            "will not be executed by the delegate" in output
            or not (applied or replaced)
            or (replaced and not delegated)
        ):
            return {"refused": f"{delegate} took no operation: the CPU ran the model instead. {_why(output)}".rstrip()}
    count, figures = counts[-1]
    figures = {name: float(value) / 1000 for name, value in re.findall(r"(\w+)=([\d.e+]+)", figures)}
    mean = figures.get("avg", figures["curr"])  # one run, or all alike: its time is all that is printed
    first = re.search(r"Init: ([\d.e+]+), First inference: ([\d.e+]+)", output)
    memory = re.search(r"[Mm]emory footprint.*\(MB\): init=\S+ overall=([\d.e+]+)", output)
    return {
        "runs": int(count),
        "median_ms": figures.get("median"),
        "p90_ms": None,
        "p5_ms": figures.get("p5"),
        "p95_ms": figures.get("p95"),
        "mean_ms": mean,
        "min_ms": figures.get("min", mean),
        "max_ms": figures.get("max", mean),
        "std_ms": figures.get("std"),
        "load_ms": float(first[1]) / 1000 if first else None,
        "first_ms": float(first[2]) / 1000 if first else None,
        "memory_mib": float(memory[1]) if memory else None,
        "delegated": delegated if replaced else None,
        "total": nodes if replaced else None,
        "partitions": sum(p for _, _, p in replaced) if replaced and replaced[0][2] is not None else None,
    }


def _why(output: str) -> str:
    """What a delegate said of the operations that it does not take."""
    listed = re.search(r"operations are not supported by \w+ delegate:\n(.*?)\n\d* ?operations", output, re.DOTALL)
    if listed:
        return "Not supported: " + "; ".join(line.rstrip(".") for line in listed[1].splitlines()[:5]) + "."
    said = re.search(r"(?:ERROR: )?(.*(?:unsupported on this platform|isn't supported|Failed to apply).*)", output)
    return said[1] if said else ""


def parse_temperatures(text: str) -> dict[str, float]:
    """The hottest sensor of each kind in degrees Celsius: Android's thermal service first, else the kernel's zones."""
    found: dict[str, list[float]] = {}
    for zone, kind in re.findall(r"thermal_zone(\d+)/type:(.*)", text):
        name = next((name for name in ("gpu", "cpu", "batt", "skin", "npu") if name in kind.lower()), None)
        value = re.search(rf"thermal_zone{zone}/temp:(-?\d+)", text)
        if name and value:
            # Most drivers count thousandths of a degree, some whole degrees.
            degrees = int(value[1]) / 1000 if abs(int(value[1])) >= 1000 else float(value[1])
            found.setdefault("battery" if name == "batt" else name, []).append(degrees)
    if battery := re.search(r"^\s*temperature: (\d+)", text, re.MULTILINE):
        found["battery"] = [int(battery[1]) / 10]
    service: dict[str, list[float]] = {}
    current = text.split("Current temperatures from HAL:")[-1]  # without this section: the cached ones
    for value, kind in re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=(\d+)", current):
        if int(kind) in TEMPERATURES:
            service.setdefault(TEMPERATURES[int(kind)], []).append(float(value))
    hottest = {name: max(values) for name, values in {**found, **service}.items()}
    return {name: value for name, value in sorted(hottest.items()) if 0 < value < 150}  # absent sensors read 0 or -274


def parse_power(text: str) -> float | None:
    """Watts that the whole phone draws from its battery; None while plugged in, or where the kernel hides the current.

    The one source fine enough: `dumpsys batterystats` counts whole percents of the battery.
    """
    read = dict(re.findall(r"^(status|current_now|voltage_now):(.*)", text, re.MULTILINE))
    if read.get("status") != "Discharging" or re.search(r"powered: true", text):
        return None
    try:
        current, voltage = abs(int(read["current_now"])), int(read["voltage_now"])
    except (KeyError, ValueError):
        return None
    # Microampere and microvolt by the kernel's convention; some drivers count thousandths. A phone at work draws
    # more than 20 mA, and its battery has 3 to 9 V.
    amperes = current / (1e6 if current >= 20_000 else 1e3)
    return amperes * voltage / (1e6 if voltage >= 100_000 else 1e3)


def last_line(text: str) -> str:
    """What a program said last, usually its error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing."


def print_sample(when: str, sample: dict) -> None:
    """One line of temperatures, throttling and power."""
    heat = ", ".join(f"{name} {value:.1f}" for name, value in sample["temperature_c"].items()) or "unknown"
    status = sample["thermal_status"]
    throttling = f", throttling {THERMAL_STATUS[min(status, 6)]}" if status is not None else ""
    power = f", {sample['power_w']:.2f} W" if sample["power_w"] is not None else ""
    print(f"{when}: temperature in C: {heat}{throttling}{power}")


def print_run(run: dict) -> None:
    """One line of latencies, or why there are none."""
    name = f"{run['model']}  {_configuration(run)}"
    if "refused" in run:
        print(f"{name}: refused. {run['refused']}")
        return
    if run["median_ms"] is None:
        times = f"mean {run['mean_ms']:.2f} ms (this benchmark_model prints no percentiles)"
    else:
        times = f"median {run['median_ms']:.2f} ms, 95 % {run['p95_ms']:.2f} ms"
    part = f", {run['delegated']} of {run['total']} operations on it" if run["delegated"] is not None else ""
    energy = f", {run['energy_mj']:.1f} mJ each" if run["energy_mj"] is not None else ""
    cores = f", cores {run['cores']}" if run["cores"] else ", not pinned"
    print(f"{name}: {times}{part}{cores}{energy}")


def _configuration(run: dict) -> str:
    return f"{run['delegate']} x{run['threads']}" if run["delegate"] == "cpu" else run["delegate"]


def table(figures: dict) -> str:
    """CSV: a row per run, per refusal and per point of the sustained run (column `kind`); empty where unknown."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    rows = [("run", run, run["after"] or {}) for run in figures["runs"]]
    rows += [("refused", run, run.get("after") or {}) for run in figures["refused"]]
    sustained = figures["sustained"] or {"points": []}
    rows += [("sustained", {**sustained, **point}, point) for point in sustained["points"]]
    for kind, row, heat in rows:
        degrees = {f"{name}_c": value for name, value in heat.get("temperature_c", {}).items()}
        seconds = row["seconds"] if kind == "sustained" else heat.get("seconds")
        status = heat.get("thermal_status")
        writer.writerow({**row, "kind": kind, "seconds": seconds, "thermal_status": status, **degrees})
    return text.getvalue()


def draw(figures: dict) -> Figure:
    """Latency and temperature of the sustained run over its minutes, else a bar per run."""
    sustained = figures["sustained"]
    if sustained and len(sustained["points"]) > 1:
        points = sustained["points"]
        kind = next((kind for kind in KINDS if any(kind in point["temperature_c"] for point in points)), None)
        degrees = [point["temperature_c"].get(kind) for point in points] if kind else []
        latency = {f"{Path(sustained['model']).name}, {_configuration(sustained)}": [p["mean_ms"] for p in points]}
        return plot.curve([p["seconds"] / 60 for p in points], latency, "ms", degrees, f"{kind}, degrees C")
    rows = []
    for run in figures["runs"]:
        shown = "mean" if run["median_ms"] is None else "median"  # old binaries print no median
        label = f"{Path(run['model']).name}, {_configuration(run)}, {shown}"
        rows.append((label, run[f"{shown}_ms"], run["mean_ms"] if run["p95_ms"] is None else run["p95_ms"]))
    return plot.bars(rows)
