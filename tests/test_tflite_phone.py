"""`tflite.benchmark --device adb` with the real adb and a stand-in for the phone (tests/adb_server.py)."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import adb_server
from tests.adb_server import outputs, times
from tflite import benchmark
from tflite.phone import adb as phone
from tflite.phone import report
from tflite.runtime import ModelError

ROOT = Path(__file__).parents[1]


def elf(machine: int, text: bytes = b"/system/bin/linker64") -> bytes:
    """The start of a program for that machine."""
    return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + text + bytes(100)


def csv_rows() -> list[dict]:
    return list(csv.DictReader(Path("f.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def adb(tmp_path_factory):
    """An adb server of the test's own, with a home of its own: the user's keys, phones and server stay untouched."""
    if shutil.which("adb") is None:
        pytest.skip("needs adb (Debian and Ubuntu: apt-get install adb)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("ADB_LOCAL_TRANSPORT_MAX_PORT", "5553")  # look for no emulator
        patch.delenv("ADB_SERVER_SOCKET", raising=False)
        patch.delenv("ANDROID_SERIAL", raising=False)
        subprocess.run(["adb", "start-server"], check=True, capture_output=True, timeout=30)
        try:
            if len(subprocess.run(["adb", "devices"], capture_output=True, timeout=30).stdout.splitlines()) > 2:
                pytest.skip("a real phone is attached, which these tests would meet")
            yield
        finally:
            subprocess.run(["adb", "kill-server"], capture_output=True, timeout=30)


@pytest.fixture
def attach(adb, tmp_path):
    """Attaches stand-ins: `attach(**arguments of adb_server.Phone)`; all are gone after the test."""
    attached = []

    def attach(**arguments):
        attached.append(adb_server.Phone(tmp_path / f"phone{len(attached)}", **arguments))
        serial = attached[-1].serial
        # For a phone that never answers, `adb connect` waits 10 s; meanwhile it is listed as offline.
        connecting = subprocess.Popen(["adb", "connect", serial], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while f"{serial}\t{attached[-1].state}" not in subprocess.check_output(
            ["adb", "devices"], text=True, timeout=60
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if attached[-1].state == "offline":
            connecting.kill()
        connecting.wait(timeout=30)
        return attached[-1]

    yield attach
    for standin in attached:
        standin.close()
        subprocess.run(["adb", "disconnect", standin.serial], capture_output=True, timeout=30)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a model and a benchmark binary in it, and the command that runs there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(phone, "SAMPLE_SECONDS", 0.1)
    (tmp_path / "net.tflite").write_bytes(b"\0\0\0\0TFL3 the model")
    (tmp_path / "android_aarch64_benchmark_model").write_bytes(elf(183))

    def command(*arguments):
        return benchmark.main(["net.tflite", "--device", "adb", *arguments])

    return command


def test_measures_cpu_and_delegates_with_temperature_and_energy(attach, work, capsys):
    standin = attach(usb=False, benchmarks=outputs(cpu=(0, adb_server.CPU + times(6994), 0.4)))
    assert work("--threads", "1,2,8", "--json", "f.json", "--csv", "f.csv", "--plot", "f.svg") == 0
    figures = json.loads(Path("f.json").read_text())
    assert figures["device"]["soc"] == "SM8550" and figures["device"]["android"] == "14"
    assert figures["device"]["abi"] == "arm64-v8a" and figures["device"]["core_mhz"][-1] == 3360

    runs = figures["runs"]
    assert [(run["delegate"], run["threads"], run["cores"]) for run in runs] == [
        ("cpu", 1, "80"), ("cpu", 2, "f8"), ("cpu", 8, "ff"), ("gpu", 1, "80"),
    ]  # fmt: skip
    assert sum("taskset f8 ./benchmark_model --graph=0.tflite --num_threads=2 " in c for c in standin.commands) == 1
    cpu, gpu = runs[0], runs[3]
    assert cpu["median_ms"] == 5.994 and cpu["p95_ms"] == 13.732 and cpu["p90_ms"] is None
    assert cpu["mean_ms"] == 6.994 and cpu["min_ms"] == 5.023 and cpu["runs"] == 50
    assert cpu["load_ms"] == 102.32 and cpu["memory_mib"] == 9.2031
    assert (cpu["delegated"], cpu["total"]) == (49, 49)
    assert (gpu["delegated"], gpu["total"], gpu["partitions"]) == (47, 49, 2)

    degrees = {"battery": 33.8, "cpu": 41.5, "gpu": 39.1, "skin": 34.7}
    for sample in (figures["before"], cpu["during"][0], cpu["after"], figures["after"]):
        assert sample["temperature_c"] == degrees and sample["thermal_status"] == 1
    assert cpu["power_w"] == pytest.approx(0.85 * 4) and cpu["energy_mj"] == pytest.approx(3.4 * 6.994)

    [nnapi] = figures["refused"]
    assert nnapi["delegate"] == "nnapi" and "took no operation: the CPU ran the model" in nnapi["refused"]
    rows = csv_rows()
    assert [row["kind"] for row in rows] == ["run"] * 4 + ["refused"]
    assert rows[0]["median_ms"] == "5.994" and rows[0]["p90_ms"] == "" and rows[0]["cpu_c"] == "41.5"
    assert "net.tflite, gpu" in Path("f.svg").read_text()
    *cpu_bars, gpu = (bar.get_width() for bar in reversed(report.draw(figures).axes[0].patches))
    assert cpu_bars[0] == cpu_bars[1] == cpu_bars[2] > gpu > 0
    said = capsys.readouterr().out
    assert "47 of 49 operations on it" in said and "throttling light" in said
    assert standin.leftovers == []


def test_sustained_run_is_a_curve(attach, work):
    standin = attach(benchmarks=outputs(gpu=(0, adb_server.GPU + times(3093), 0.2)))
    # Shorter than one run, as 0.02 minutes were on a machine with other work: still two points.
    assert work("--minutes", "0.001", "--json", "f.json", "--csv", "f.csv", "--plot", "f.svg") == 0
    sustained = json.loads(Path("f.json").read_text())["sustained"]
    assert (sustained["delegate"], sustained["threads"]) == ("gpu", 1)  # the fastest
    points = sustained["points"]
    assert len(points) >= 2 and all(point["mean_ms"] == 3.093 for point in points)
    assert points[-1]["seconds"] > points[0]["seconds"] and points[0]["temperature_c"]["cpu"] == 41.5
    assert sum(row["kind"] == "sustained" for row in csv_rows()) == len(points)
    drawn = Path("f.svg").read_text()
    assert "net.tflite, gpu" in drawn and "cpu, degrees C" in drawn and "minutes" in drawn
    assert [len(axes.lines[0].get_xdata()) for axes in report.draw({"sustained": sustained}).axes] == [len(points)] * 2
    assert standin.leftovers == []


def test_no_energy_while_charging_and_no_percentiles_from_an_old_binary(attach, work, capsys):
    attach(benchmarks=outputs(cpu=(0, adb_server.CPU + times(6994, percentiles=False), 0.3)))
    assert work("--delegates", "cpu", "--json", "f.json", "--plot", "f.svg") == 0
    [run] = json.loads(Path("f.json").read_text())["runs"]
    assert run["median_ms"] is None and run["p95_ms"] is None and run["mean_ms"] == 6.994
    assert run["during"] and run["power_w"] is None and run["energy_mj"] is None
    said = capsys.readouterr().out
    assert "prints no percentiles" in said and "cable out" in said


@pytest.mark.parametrize(
    ("state", "remedy"), [("unauthorized", "accept this computer's key"), ("offline", "Plug it in again")]
)
def test_a_phone_that_does_not_let_us_in(attach, work, state, remedy):
    attach(state=state)
    with pytest.raises(ModelError, match=f"'{state}'.*{remedy}"):
        work()


def test_no_phone(adb, work):
    with pytest.raises(ModelError, match=r"No phone is attached.*USB debugging"):
        work()


def test_several_phones_need_a_serial(attach, work):
    first, second = attach(), attach()
    with pytest.raises(ModelError, match=f"({first.serial}|{second.serial}), .*--serial"):
        work()
    with pytest.raises(ModelError, match="No phone has the serial other"):
        work("--serial", "other")
    assert work("--serial", second.serial, "--delegates", "cpu") == 0
    assert second.commands and not first.commands


def test_no_adb(work, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ModelError, match="apt-get install adb"):
        work()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (elf(62), "made for x86_64, the phone runs arm64-v8a.*android_aarch64_benchmark_model"),
        (elf(183, b"/lib/ld-linux-aarch64.so.1"), "no program for Android"),
        (b"#!/bin/sh\n", "no program for Android"),
    ],
)
def test_a_binary_for_another_machine(attach, work, content, message):
    standin = attach()
    Path("mine").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        work("--binary", "mine")
    assert standin.leftovers == []


def test_a_binary_for_32_bits_serves_a_phone_that_runs_them(attach, work):
    attach()
    Path("android_aarch64_benchmark_model").rename("found")
    Path("android_arm_benchmark_model").write_bytes(elf(40))
    assert work("--delegates", "cpu", "--json", "f.json") == 0
    assert json.loads(Path("f.json").read_text())["binary"]["name"] == "android_arm_benchmark_model"


def test_a_missing_binary_and_how_to_get_it(attach, work):
    attach()
    Path("android_aarch64_benchmark_model").unlink()
    with pytest.raises(ModelError, match=r"Download it from https://.*android_aarch64_benchmark_model.*--binary"):
        work()


def test_a_delegate_that_the_binary_does_not_offer(attach, work):
    standin = attach()
    with pytest.raises(ModelError, match=r"does not offer hexagon. It offers: cpu, gpu, nnapi"):
        work("--delegates", "cpu,hexagon")
    assert standin.leftovers == []


def test_a_refused_delegate_says_why_and_the_others_run(attach, work):
    standin = attach(benchmarks=outputs(gpu=(1, adb_server.GPU_REFUSED, 0)))
    assert work("--json", "f.json") == 0
    figures = json.loads(Path("f.json").read_text())
    assert [run["delegate"] for run in figures["runs"]] == ["cpu"]
    reason = figures["refused"][0]["refused"]
    assert "No shader implementation for transpose" in reason and "GATHER_ND: Operation is not supported" in reason
    assert standin.leftovers == []


def test_nothing_measured_is_a_failure(attach, work, capsys):
    attach(benchmarks=outputs(gpu=(1, adb_server.GPU_REFUSED, 0)))
    assert work("--delegates", "gpu") == 1
    assert "Nothing could be measured" in capsys.readouterr().err


def test_no_space_left(attach, work):
    standin = attach(push_error="couldn't create file: No space left on device")
    with pytest.raises(ModelError, match="No space is left on the phone for android_aarch64_benchmark_model"):
        work()
    assert standin.leftovers == []


def test_a_phone_that_disappears_halfway_keeps_what_was_measured(attach, work, capsys):
    attach(vanish_at="--use_gpu=true")
    assert work("--threads", "1,2", "--json", "f.json", "--csv", "f.csv", "--plot", "f.svg") == 1
    figures = json.loads(Path("f.json").read_text())
    assert [(run["delegate"], run["threads"]) for run in figures["runs"]] == [("cpu", 1), ("cpu", 2)]
    assert "disappeared. Check the cable" in figures["stopped"]
    assert len(csv_rows()) == 2 and Path("f.svg").is_file()
    said = capsys.readouterr()
    assert "2 runs were measured before and are kept" in said.err
    assert "later remove /data/local/tmp/pocketseg-" in said.out


def test_a_phone_that_stops_answering(attach, work, monkeypatch, capsys):
    monkeypatch.setattr(phone, "ANSWER_SECONDS", 0.5)
    attach(silent_at="dumpsys")
    assert work() == 1
    assert "No answer within 0.5 s to: adb" in capsys.readouterr().err


def test_a_run_that_never_ends_is_stopped(attach, work, monkeypatch):
    monkeypatch.setattr(phone, "LIMIT_SECONDS", 1)
    standin = attach(benchmarks=outputs(gpu=(0, adb_server.GPU + times(3093), 43)))
    assert work("--delegates", "cpu,gpu", "--json", "f.json") == 0
    figures = json.loads(Path("f.json").read_text())
    assert [run["delegate"] for run in figures["runs"]] == ["cpu"]
    assert "did not end within 1 s and was stopped" in figures["refused"][0]["refused"]
    assert standin.leftovers == [] and standin.idle()


def test_control_c_keeps_the_figures_and_cleans_up(attach, work, request):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits "ignored"
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    standin = attach(benchmarks=outputs(gpu=(0, adb_server.GPU + times(3093), 41)))
    process = subprocess.Popen(
        [sys.executable, "-m", "tflite.benchmark", "net.tflite", "--device", "adb", "--json", "f.json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any("--use_gpu=true" in command for command in standin.commands):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "Stopped by Ctrl-C" in process.communicate(timeout=30)[1] and process.returncode == 1
    assert [run["delegate"] for run in json.loads(Path("f.json").read_text())["runs"]] == ["cpu"]
    assert standin.leftovers == [] and standin.idle()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--serial", "x"], "--serial is for a phone: add --device adb"),
        (["--device", "adb", "--profile"], "--profile times this machine"),
        (["--device", "adb", "--plot", "nowhere/f.svg"], "Cannot write nowhere/f.svg: it must be a file, in a folder"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_runs(work, arguments, message):
    with pytest.raises(ModelError, match=message):
        benchmark.main(["net.tflite", *arguments])


def test_neither_keras_nor_tensorflow_is_imported():
    script = "import sys, tflite.phone.adb; print(sorted({'keras', 'tensorflow', 'keras_models'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True) == "[]\n"


@pytest.mark.parametrize(
    ("current", "voltage", "watts"), [("-850000", "4000000", 3.4), ("850000", "4000000", 3.4), ("-850", "4000", 3.4)]
)
def test_power_in_both_units_and_with_either_sign(current, voltage, watts):
    text = f"status:Discharging\ncurrent_now:{current}\nvoltage_now:{voltage}\n  USB powered: false\n"
    assert report.parse_power(text) == pytest.approx(watts)
    assert report.parse_power(text.replace("USB powered: false", "USB powered: true")) is None
    assert report.parse_power(re.sub("current_now:.*\n", "", text)) is None


def test_counts_without_spread_and_with_an_exponent():
    output = "count=1 curr=1.2e+06\n\ncount=50 curr=7000(all same)\n"
    found = report.parse_run(0, output, "cpu")
    assert found["mean_ms"] == found["min_ms"] == found["max_ms"] == 7.0 and found["median_ms"] is None
    assert report.parse_run(0, output.replace("7000(all same)", "1.5e+06"), "cpu")["mean_ms"] == 1500
