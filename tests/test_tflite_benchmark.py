"""The benchmark on this machine: its tables, files and curves, the profile of operations, and that it stands alone."""

import csv
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tflite import benchmark, runtime
from tflite.measure import plot, profiler

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "keras_models" / "presets" / "extremec3-eg1800" / "extremec3-eg1800-int8.tflite"
ABSENT = ("tensorflow", "tf_keras", "keras", "keras_models")

SUMMARY = """Run started
=========================== Run Order ===========================
             [node type]    [start]    [first]   [avg ms]        [%]     [cdf%]   [mem KB] [times called]   [Name]
                QUANTIZE      0.000      0.098      0.099     0.330%     0.330%      0.000             50   [Builtin]:0
 Delegate/Fully Connected (NC, QS8, QC8W) GEMM   0.000  0.093  0.095  0.318%  2.081%   0.000   50   [Delegate]:11

====================== Top by Computation Time ======================
             [node type]    [start]    [first]   [avg ms]        [%]     [cdf%]   [mem KB] [times called]   [Name]
                QUANTIZE      0.000      0.098      0.099     0.330%     0.330%      0.000             50   [Builtin]:0

"""


@pytest.fixture
def device(tmp_path):
    """A folder with what a user copies to a device, and a function that runs Python there without the project."""
    shutil.copytree(ROOT / "tflite", tmp_path / "tflite", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(MODEL, tmp_path / "net.tflite")
    shutil.copy(MODEL.with_suffix(".json"), tmp_path / "net.json")
    absent = tmp_path / "absent"
    absent.mkdir()
    for name in ABSENT:
        (absent / f"{name}.py").write_text(f"raise ImportError('there is no {name} on a device')\n")

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(absent)},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return tmp_path, python


def test_it_runs_alone_on_a_device(device):
    place, python = device
    command = "-m tflite.benchmark net.tflite net.tflite --threads 1,2 --runs 3 --warmup 1 --minutes 0.005"
    python(*command.split(), "--json", "speed.json", "--csv", "speed.csv", "--plot", "curve.svg")
    found = json.loads((place / "speed.json").read_text())
    assert [run["threads"] for run in found["runs"]] == [1, 1, 2, 2]
    assert all(0 < run["median_ms"] <= run["p90_ms"] <= run["p99_ms"] for run in found["runs"])
    assert found["runs"][0]["speed"] == 1
    assert all(len(sample["ms"]) == 2 and min(sample["ms"]) > 0 for sample in found["sustained"]["samples"])
    assert found["cold_start"][0]["first_ms"] > 0
    with (place / "speed.csv").open() as file:
        assert [float(row["median_ms"]) for row in csv.DictReader(file)] == [r["median_ms"] for r in found["runs"]]
    ElementTree.parse(place / "curve.svg")


def test_the_profile_and_the_segmenter_run_alone_too(device):
    place, python = device
    python("-m", "tflite.benchmark", "net.tflite", "--profile", "--runs", "2", "--json", "profile.json")
    assert json.loads((place / "profile.json").read_text())["profiles"][0]["total_ms"] > 0
    said = python(
        "-c",
        "import numpy as np; from tflite import runtime; s = runtime.Segmenter('net.tflite'); print(s.spec['name']); "
        "print(s.labels(np.zeros((50, 40, 3), np.uint8)).shape)",
    ).splitlines()
    assert said[-2:] == [json.loads((place / "net.json").read_text())["name"], "(50, 40)"]


def test_the_profile_accounts_for_every_operation():
    found = profiler.profile(MODEL, runs=2, warmup=1)
    total = sum(operator["ms"] for operator in found["operators"])
    assert found["total_ms"] == pytest.approx(total)
    assert sum(row["ms"] for row in found["types"]) == pytest.approx(total)
    assert sum(row["share"] for row in found["types"]) == pytest.approx(1)
    assert found["wall_ms"] > 0
    assert all(operator["delegated"] for operator in found["operators"]), "uint8 to int8 and back with the rest"
    names = {operation["index"]: operation["name"] for operation in found["operations"]}
    for operator in found["operators"]:
        if "DWConv" in operator["type"]:
            assert names[operator["operation"]] == "DEPTHWISE_CONV_2D"
    owners = [o["operation"] for o in found["operators"] if o["operation"] is not None]
    assert owners == sorted(owners)
    convolutions = {index for index, name in names.items() if "CONV" in name}
    assert convolutions <= set(owners), "each convolution has its time"
    assert "slowest operations" in profiler.report(found)


def test_operators_are_matched_to_the_operations_they_belong_to():
    operations = [
        {"index": i, "name": name}
        for i, name in enumerate(["QUANTIZE", "CONV_2D", "RELU", "CONCATENATION", "ADD", "SOFTMAX", "QUANTIZE"])
    ]
    expected = [
        ("QUANTIZE", False, 0), ("Convolution (NHWC, QC8) IGEMM", True, 1), ("Copy (NC, X8)", True, 3),
        ("Copy (NC, X8)", True, 3), ("Unheard Of (NC)", True, None), ("Add (ND)", True, 4), ("SOFTMAX", False, 5),
        ("QUANTIZE", False, 6),
    ]  # fmt: skip
    operators = [{"type": kind, "delegated": delegated, "operation": None} for kind, delegated, _ in expected]
    profiler._assign(operators, operations)
    assert [operator["operation"] for operator in operators] == [index for _, _, index in expected]


def test_the_summary_is_read_in_order():
    rows, times = profiler._parse(SUMMARY)
    assert rows == [("QUANTIZE", False), ("Fully Connected (NC, QS8, QC8W) GEMM", True)]
    assert times == [0.099, 0.095]
    assert profiler._parse("another format") == ([], [])


def _crash(*_):
    os.abort()


def test_a_crash_inside_the_library_is_one_error(monkeypatch):
    monkeypatch.setattr(profiler, "_run", _crash)
    with pytest.raises(runtime.ModelError, match=r"could not be profiled with ai-edge-litert .* pip install"):
        profiler.profile(MODEL)


def test_no_library_and_an_old_one(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.1.6")
    with pytest.raises(runtime.ModelError, match=r"2\.1\.6 does not time"):
        profiler.profile(MODEL)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(runtime.ModelError, match="--profile needs libLiteRt"):
        profiler.profile(MODEL)


def test_sensors(tmp_path):
    for i, text in enumerate(["41000\n", "45500\n", "broken\n"]):
        (tmp_path / f"zone{i}").write_text(text)
    assert benchmark._reading(f"{tmp_path}/zone*", max) == 45.5
    assert benchmark._reading(f"{tmp_path}/none*", max) is None


def test_pictures_show_the_numbers(tmp_path):
    bars = plot.bars([("a<b>.tflite, 1 thread(s)", 2.0, 3.0), ("b", 1.0, 1.5), ("b", 1.0, 1.5)])
    assert [bar.get_width() for bar in bars.axes[0].patches] == [1, 1, 2], "the first is on top"
    plot.write(tmp_path / "bars.svg", bars)
    ElementTree.parse(tmp_path / "bars.svg")
    assert "2.00 ms" in (tmp_path / "bars.svg").read_text()
    curve = plot.curve([0, 1, 2], {"a": [1.0, 2.0, 1.5]}, "ms", [40.0, None, 50.0], "degrees C")
    left, right = (axes.lines[0].get_ydata() for axes in curve.axes)
    assert list(left) == [1, 2, 1.5] and np.isnan(right[1]), "a missing reading is a gap"
    plot.write(tmp_path / "curve.png", curve)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_memory_is_counted_on_every_system(monkeypatch, tmp_path):
    """macOS counts bytes where Linux counts KiB; Windows has no getrusage."""
    used = types.SimpleNamespace(getrusage=lambda _: types.SimpleNamespace(ru_maxrss=2048 * 1024), RUSAGE_SELF=0)
    monkeypatch.setitem(sys.modules, "resource", used)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert benchmark._peak_memory_kib(tmp_path / "none") == 2048
    monkeypatch.setattr(sys, "platform", "freebsd")
    assert benchmark._peak_memory_kib(tmp_path / "none") == 2048 * 1024
    monkeypatch.setitem(sys.modules, "resource", None)
    assert benchmark._peak_memory_kib(tmp_path / "none") is None


def test_a_plot_of_no_kind_is_refused_before_any_run():
    with pytest.raises(runtime.ModelError, match=r"--plot writes .svg, .png, .pdf. Received: a.gif"):
        benchmark.main([str(MODEL), "--plot", "a.gif"])


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--runs", "0"], ["--profile", "--csv", "a.csv"]])
def test_a_mistake_in_the_options_ends_before_any_run(arguments):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main([str(MODEL), *arguments])
    assert stopped.value.code == 2
