"""Time converted networks on an Android phone: `python -m tflite.benchmark a.tflite --device adb --threads 1,2,4`.

TFLite's own `benchmark_model` does the timing; this module drives it through `adb`: finds the phone, pushes the binary
and the models, runs every delegate that the binary offers, pinned to the fastest cores, reads temperatures and the
battery meanwhile, and removes its folder from the phone in every case. What benchmark_model does not print is null:
percentiles come from its recent versions alone (5 %, median, 95 %), and none prints the 90 %.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tflite.measure import plot
from tflite.phone import report
from tflite.runtime import ModelError, write_whole

# The name under which TensorFlow publishes the binary, and the machine that its ELF header must name.
BINARIES = {
    "arm64-v8a": ("android_aarch64_benchmark_model", 183),
    "armeabi-v7a": ("android_arm_benchmark_model", 40),
    "x86_64": ("android_x86_64_benchmark_model", 62),
    "x86": ("android_x86_benchmark_model", 3),
}
NIGHTLY = "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/"
NO_DELEGATES = {"xnnpack", "caching", "coreml"}  # --use_xnnpack is the CPU's default, the others run nowhere on Android
RUN_SECONDS = 5  # a configuration runs at least so long, and --runs times,
LONGEST_SECONDS = 60  # and no new run starts after that
LIMIT_SECONDS = 240  # a run that takes longer hangs: warm-up and run have LONGEST_SECONDS each, the rest is loading
SUSTAINED_SECONDS = 10  # one point of the curve
SAMPLE_SECONDS = 2  # between two looks at the sensors while it runs
ANSWER_SECONDS = 30  # for adb and short commands
PUSH_SECONDS = 300

_SENSORS = (
    "dumpsys thermalservice; dumpsys battery; "
    "grep -H . /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp; "
    "cd /sys/class/power_supply/battery && grep -H . status current_now voltage_now"
)


class LostError(Exception):
    """The phone vanished or stopped answering; the message says what to do."""


def find(serial: str | None) -> str:
    """The serial of the phone to use. ModelError when there is none, several, or it does not let us in."""
    listed = _adb("devices")
    devices = dict(line.split("\t", 1) for line in listed.stdout.splitlines() if "\t" in line)
    if listed.returncode:
        raise ModelError(f"adb does not work: {report.last_line(listed.stdout + listed.stderr)} Try: adb kill-server")
    if not devices:
        raise ModelError(
            "No phone is attached. Plug one in, switch on USB debugging in its developer options "
            "(or: adb connect ADDRESS), then look at: adb devices"
        )
    if serial is None and len(devices) > 1:
        raise ModelError(f"Several phones are attached: {', '.join(devices)}. Choose one with --serial.")
    serial = serial or next(iter(devices))
    if serial not in devices:
        raise ModelError(f"No phone has the serial {serial}. Attached: {', '.join(devices)}.")
    state = devices[serial].strip()
    if state == "device":
        return serial
    if state in ("unauthorized", "authorizing"):
        remedy = "Unlock its screen and accept this computer's key; no dialogue: adb kill-server, and plug it in again"
    elif state.startswith("no permissions"):
        remedy = (
            "This user may not open it: sudo apt-get install android-sdk-platform-tools-common, and plug it in again"
        )
    elif state in ("offline", "connecting"):
        remedy = "Plug it in again (over a network: adb disconnect, then adb connect ADDRESS) or restart it"
    else:
        remedy = "Start it into Android: adb reboot"
    raise ModelError(f"The phone {serial} is attached, but adb calls it '{state}'. {remedy}.")


def find_binary(named: str | None, abis: list[str]) -> Path:
    """The benchmark binary for a phone that runs `abis`, its preferred first.

    `named`, else TensorFlow's name of it in the working directory, in ~/Downloads, on the PATH, in this order.
    ModelError when there is none, or it is made for another machine.
    """
    known = [abi for abi in abis if abi in BINARIES]
    if named is None:
        for name in (BINARIES[abi][0] for abi in known):
            places = [Path(name), Path.home() / "Downloads" / name, Path(shutil.which(name) or name)]
            named = next((place for place in places if place.is_file()), None)
            if named:
                break
        else:
            name = BINARIES[known[0]][0] if known else "benchmark_model"
            raise ModelError(
                f"There is no {name} in this folder, in ~/Downloads or on the PATH. Download it from {NIGHTLY}{name} "
                "or build TensorFlow's //tensorflow/lite/tools/benchmark:benchmark_model, and name it with --binary."
            )
    try:
        with Path(named).open("rb") as file:
            content = file.read(4096)
    except OSError as error:
        raise ModelError(f"Cannot read the benchmark binary {named}: {error.strerror}.") from error
    if content[:4] != b"\x7fELF" or b"/lib/ld-linux" in content or b"/lib64/ld-linux" in content:
        raise ModelError(f"{named} is no program for Android. Download {BINARIES['arm64-v8a'][0]} from {NIGHTLY}")
    machine = int.from_bytes(content[18:20], "little")
    if machine not in [BINARIES[abi][1] for abi in known]:
        made_for = next((abi for abi, (_, number) in BINARIES.items() if number == machine), f"machine {machine}")
        wanted = BINARIES[known[0]][0] if known else "a build for it"
        raise ModelError(f"{named} is made for {made_for}, the phone runs {', '.join(abis)}. Take {wanted}: {NIGHTLY}")
    return Path(named)


class Phone:
    """A phone behind adb, with a folder of ours on it. Use as a context: leaving it removes the folder."""

    def __init__(self, serial: str):
        self.serial = serial
        self.folder = f"/data/local/tmp/pocketseg-{secrets.token_hex(4)}"
        self._started = time.monotonic()
        properties = dict(re.findall(r"\[(.+?)\]: \[(.*?)\]", self.shell("getprop")[1]))
        read = properties.get
        self.abis = (read("ro.product.cpu.abilist") or read("ro.product.cpu.abi", "")).split(",")
        frequencies = self.shell("grep -H . /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq")[1]
        self.core_khz = {int(core): int(khz) for core, khz in re.findall(r"/cpu(\d+)/cpufreq/\w+:(\d+)", frequencies)}
        self._pins = self.shell("command -v taskset")[0] == 0
        self.facts = {
            "serial": serial,
            "manufacturer": read("ro.product.manufacturer"),
            "model": read("ro.product.model"),
            "soc": read("ro.soc.model"),
            "platform": read("ro.board.platform"),
            "hardware": read("ro.hardware"),
            "android": read("ro.build.version.release"),
            "sdk": read("ro.build.version.sdk"),
            "abi": self.abis[0],
            "core_mhz": [khz // 1000 for _, khz in sorted(self.core_khz.items())],
        }

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *error) -> None:
        try:
            self.shell(f"{self._stop()}; rm -rf {self.folder}")
        except LostError:
            print(f"The phone is gone; later remove {self.folder} from it: adb shell rm -rf {self.folder}")

    def _stop(self) -> str:
        return f"kill -9 $(cat {self.folder}/pid) 2>/dev/null"

    def shell(self, command: str) -> tuple[int, str]:
        """Exit status and output of a short command. LostError when the phone does not answer."""
        return self._answer(_adb("-s", self.serial, "shell", _with_status(command)).stdout)

    def _answer(self, output: str) -> tuple[int, str]:
        # Before Android 7 adb knows no exit status, and its lines end in \r\n; so the shell prints the status itself.
        text, marker, status = output.replace("\r", "").rpartition("EXIT:")
        if not marker:
            raise LostError(
                f"The phone {self.serial} disappeared. Check the cable or the network (adb devices), then start again."
            )
        return int(status), text

    def push(self, path: Path, name: str) -> None:
        """Copy a file into the folder, which is made if need be."""
        self.shell(f"mkdir -p {self.folder}")
        done = _adb("-s", self.serial, "push", str(path), f"{self.folder}/{name}", timeout=PUSH_SECONDS)
        said = done.stdout + done.stderr
        if "No space left" in said:
            raise ModelError(
                f"No space is left on the phone for {path} ({path.stat().st_size / 2**20:.1f} MiB). "
                "Free some; adb shell df /data shows how much there is."
            )
        if done.returncode:
            self.shell("true")  # a phone that is gone is reported as such
            raise ModelError(f"{path} cannot be copied to the phone: {report.last_line(said)}")

    def fastest_cores(self, threads: int) -> str | None:
        """taskset's mask, hexadecimal, of the fewest of the fastest clusters that hold `threads`; None if unknown."""
        if not self._pins or not self.core_khz:
            return None
        ordered = sorted(self.core_khz.values(), reverse=True)
        slowest = ordered[min(threads, len(ordered)) - 1]
        return f"{sum(1 << core for core, khz in self.core_khz.items() if khz >= slowest):x}"

    def sample(self) -> dict:
        """The sensors now: seconds since the start, thermal status (0 none to 6), degrees Celsius, watts or None."""
        text = self.shell(f"{{ {_SENSORS}; }} 2>/dev/null")[1]
        status = re.search(r"Thermal Status: (\d+)", text)
        return {
            "seconds": round(time.monotonic() - self._started, 1),
            "thermal_status": int(status[1]) if status else None,
            "temperature_c": report.parse_temperatures(text),
            "power_w": report.parse_power(text),
        }

    def offered(self) -> list[str]:
        """The delegates of the pushed binary, "cpu" first. ModelError when the binary does not start."""
        _, usage = self.shell(f"cd {self.folder} && chmod 755 benchmark_model && ./benchmark_model --help")
        if "--graph" not in usage:
            raise ModelError(
                f"The benchmark binary does not start on the phone ({self.facts['abi']}): "
                f"{report.last_line(usage)} Take a build of benchmark_model for Android: {NIGHTLY}"
            )
        found = dict.fromkeys(re.findall(r"--use_(\w+)=", usage))
        return ["cpu", *(name for name in found if name not in NO_DELEGATES)]

    def run(self, graph: str, delegate: str, threads: int, flags: list[str]) -> dict:
        """One run of benchmark_model: `parse_run`'s dict with the samples taken meanwhile."""
        cores = self.fastest_cores(threads)
        program = f"taskset {cores} ./benchmark_model" if cores else "./benchmark_model"
        use = [] if delegate == "cpu" else [f"--use_{delegate}=true"]
        arguments = shlex.join([f"--graph={graph}", f"--num_threads={threads}", *use, *flags])
        # No --report_peak_memory_footprint: its thread disturbs the times. Its process is noted, to be killed.
        command = (
            f"cd {self.folder} && {{ {program} {arguments} & echo $! > pid; wait $!; s=$?; rm -f pid; (exit $s); }}"
        )
        shell = ["adb", "-s", self.serial, "shell", _with_status(command)]
        samples, deadline = [], time.monotonic() + LIMIT_SECONDS
        process = subprocess.Popen(
            shell, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        output = None
        try:
            while output is None and time.monotonic() < deadline:
                try:
                    output, _ = process.communicate(timeout=SAMPLE_SECONDS)
                except subprocess.TimeoutExpired:
                    samples.append(self.sample())
            if output is None:
                self.shell(self._stop())
                result = {"refused": f"It did not end within {LIMIT_SECONDS} s and was stopped; see --delegates."}
            else:
                result = report.parse_run(*self._answer(output), delegate)
        finally:
            process.kill()
            process.wait()
        # The whole phone's power, its screen's too; inferences follow each other without a pause, so W times ms is mJ.
        powers = [sample["power_w"] for sample in samples if sample["power_w"] is not None]
        power = sum(powers) / len(powers) if powers else None
        energy = power * result["mean_ms"] if power is not None and "mean_ms" in result else None
        return {
            "delegate": delegate, "threads": threads, "cores": cores, **result,
            "power_w": power, "energy_mj": energy, "during": samples,
        }  # fmt: skip


def _adb(*arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess:
    timeout = timeout or ANSWER_SECONDS
    try:
        return subprocess.run(
            ["adb", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ModelError(
            "adb is not installed. Debian and Ubuntu: sudo apt-get install adb; elsewhere: Android SDK Platform-Tools."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LostError(
            f"No answer within {timeout:g} s to: adb {' '.join(arguments)[:60]}. Check the cable or the network, "
            "restart with adb kill-server, and start again."
        ) from error


def _with_status(command: str) -> str:
    return f"{command}; echo EXIT:$?"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `--device adb`."""
    group = parser.add_argument_group("on a phone")
    group.add_argument("--device", choices=["adb"], help="measure on the Android phone behind adb")
    group.add_argument("--serial", help="which phone, of several (see: adb devices)")
    group.add_argument(
        "--binary",
        metavar="PATH",
        help="TFLite's benchmark_model for the phone (default: android_aarch64_benchmark_model, or its name for the "
        "phone's ABI, in this folder, in ~/Downloads, on the PATH)",
    )
    group.add_argument(
        "--delegates",
        metavar="D,D",
        type=lambda text: text.split(","),
        help="cpu,gpu,nnapi,... (default: all it offers)",
    )


def chosen(options: argparse.Namespace) -> bool:
    """Whether to measure on a phone. ModelError for options that do not go together."""
    stray = [name for name in ("serial", "binary", "delegates") if getattr(options, name)]
    if stray and not options.device:
        raise ModelError(f"--{stray[0]} is for a phone: add --device adb.")
    if options.device and options.profile:
        raise ModelError("--profile times this machine's operations. Leave out --profile or --device.")
    return bool(options.device)


def main(options: argparse.Namespace) -> int:
    """Measure `options.models`. 0; 1 when nothing could be measured or the phone vanished (what was measured is kept).

    Raises ModelError for what stands in the way of the first run.
    """
    models = [Path(model) for model in options.models]
    for model in models:
        try:
            with model.open("rb") as file:
                header = file.read(8)
        except OSError as error:
            raise ModelError(f"Cannot read {model}: {error.strerror}.") from error
        if header[4:] != b"TFL3":
            raise ModelError(f"{model} is no TFLite model. Expected a .tflite that a converter wrote.")
    for folder in [Path(path).parent for path in (options.json, options.csv, options.plot) if path]:
        if not folder.is_dir():
            raise ModelError(f"There is no folder {folder} to write the figures to. Run: mkdir -p {folder}")
    figures = {"device": {}, "runs": [], "refused": [], **dict.fromkeys(["before", "after", "sustained", "stopped"])}
    try:
        with Phone(find(options.serial)) as phone:
            figures["device"] = phone.facts
            print("{manufacturer} {model}, {soc} ({platform}), Android {android}, {abi}".format(**phone.facts))
            binary = find_binary(options.binary, phone.abis)
            figures["binary"] = {"name": binary.name, "sha256": hashlib.sha256(binary.read_bytes()).hexdigest()}
            phone.push(binary, "benchmark_model")
            offered = phone.offered()
            unknown = [name for name in options.delegates or [] if name not in offered]
            if unknown:
                raise ModelError(f"{binary} does not offer {', '.join(unknown)}. It offers: {', '.join(offered)}.")
            for number, model in enumerate(models):
                phone.push(model, f"{number}.tflite")
            _measure(phone, models, options, options.delegates or offered, figures)
    except LostError as error:
        figures["stopped"] = str(error)
    except KeyboardInterrupt:
        figures["stopped"] = "Stopped by Ctrl-C."
    if figures["runs"] or figures["refused"]:
        if options.json:
            write_whole(options.json, (json.dumps(figures, indent=1) + "\n").encode())
        if options.csv:
            write_whole(options.csv, report.table(figures).encode())
        if options.plot and figures["runs"]:
            plot.write(options.plot, report.draw(figures))
    if figures["stopped"]:
        kept = f" {len(figures['runs'])} runs were measured before and are kept." if figures["runs"] else ""
        print(f"error: {figures['stopped']}{kept}", file=sys.stderr)
    elif not figures["runs"]:
        print("error: Nothing could be measured; the lines above say why.", file=sys.stderr)
    return 1 if figures["stopped"] or not figures["runs"] else 0


def _measure(
    phone: Phone, models: list[Path], options: argparse.Namespace, delegates: list[str], figures: dict
) -> None:
    """Fill `figures` run by run, so that an interruption loses nothing."""
    figures["before"] = phone.sample()
    report.print_sample("before", figures["before"])
    # On a delegate the threads serve the operations that it leaves to the CPU.
    configurations = [("cpu", threads) for threads in options.threads if "cpu" in delegates]
    configurations += [(delegate, options.threads[0]) for delegate in delegates if delegate != "cpu"]
    flags = [f"--num_runs={options.runs}", f"--warmup_runs={options.warmup}", f"--min_secs={RUN_SECONDS}"]
    for delegate, threads in configurations:
        for number, model in enumerate(models):
            found = phone.run(f"{number}.tflite", delegate, threads, [*flags, f"--max_secs={LONGEST_SECONDS}"])
            run = {"model": str(model), **found, "after": None}
            figures["refused" if "refused" in run else "runs"].append(run)
            report.print_run(run)
            run["after"] = phone.sample()
    if options.minutes and figures["runs"]:
        fastest = min(figures["runs"], key=lambda run: run["mean_ms"])
        which = {name: fastest[name] for name in ("model", "delegate", "threads")}
        figures["sustained"] = {**which, "minutes": options.minutes, "points": []}
        flags = ["--num_runs=1", "--warmup_runs=1", "--warmup_min_secs=0", f"--min_secs={SUSTAINED_SECONDS}"]
        graph = f"{[str(model) for model in models].index(fastest['model'])}.tflite"
        points = figures["sustained"]["points"]
        started = time.monotonic()
        while (passed := time.monotonic() - started) < options.minutes * 60 or len(points) == 1:  # a curve has two
            found = phone.run(graph, fastest["delegate"], fastest["threads"], flags)
            if "refused" in found:
                figures["refused"].append({**which, **found})
                break
            point = {**phone.sample(), **found, "seconds": round(passed, 1)}
            point["power_w"] = found["power_w"]  # while it ran, not after it
            points.append(point)
            report.print_sample(f"{passed:5.0f} s {point['mean_ms']:8.2f} ms", point)
    figures["after"] = phone.sample()
    report.print_sample("after", figures["after"])
    if figures["runs"] and all(run["power_w"] is None for run in figures["runs"]):
        print("energy: not measured. It needs adb over Wi-Fi with the cable out, and a kernel that shows the current.")
