"""The same masks on ARM? `python -m benchmarks.arm64 MODEL.tflite --data-dir DIR` writes results/interpreters.json.

Phones are ARM. An ARM64 Python with ARM64 wheels of ai-edge-litert and tflite-runtime runs here under Debian's qemu on
three emulated processors, whose int8 kernels are others: plain NEON (Cortex-A53), dot products (Cortex-A76) and
matrix products (as in a Cortex-X2). All are compared with LiteRT on this machine. Times under emulation say nothing.

Needs a Debian or Ubuntu machine with apt-get, dpkg and pip; root is not needed and nothing is installed: packages are
downloaded and unpacked into --cache, about 700 MB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from keras_models import command, data
from keras_models.command import UserError, option
from tflite import runtime
from tflite.measure import interpreters
from tflite.measure.interpreters import Interpreter
from tflite.verify import some_images

DEBIAN = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "zlib1g")
PYTHON = "3.11"
WHEELS = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", ("ai-edge-litert>=2.1", "numpy", "opencv-python-headless<5")),
    "tflite-runtime": (
        "tflite_runtime.interpreter",
        ("tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless<4.12"),
    ),
}
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")

# Name -> what qemu emulates, and the processor's part number and features. Libraries look these up in /proc/cpuinfo,
# where qemu shows this machine's own, and end in a segmentation fault when what they find there is no ARM. SVE and SME
# are left away: qemu 7.2 computes wrong results with SME, qemu 10 the right ones.
_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
PROCESSORS = {
    "Cortex-A53": ("cortex-a53", "0xd03", _FEATURES),
    "Cortex-A76": ("cortex-a76", "0xd0b", f"{_FEATURES} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
    "ARMv8.6 with i8mm": ("max,sve=off,sme=off", "0xd48", f"{_FEATURES} atomics fphp asimdhp asimdrdm asimddp i8mm"),
}


@dataclass(frozen=True)
class ArmOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL.tflite", help="the model")
    dataset: str | None = option(None, metavar="KIND", help="kind of dataset")
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    split: str = option("val", choices=("train", "val", "test"), help="which split")
    images: int = option(16, help="how many of its photos, evenly spread")
    tflite_runtime: str | None = option(None, metavar="PYTHON", help="a Python of this machine that has tflite-runtime")
    cache: str = option("build/arm64", metavar="DIR", help="where the ARM64 system is kept")


def main(argv: list[str] | None = None) -> None:
    """Build the emulated systems if they are not there, compare, print and write."""
    options = command.parse(
        ArmOptions,
        argv,
        program="python -m benchmarks.arm64",
        description=__doc__,
        example="python -m benchmarks.arm64 portrait.tflite --dataset eg1800 --data-dir eg1800",
    )
    name = data.kind_of(options.dataset, options.data_dir)
    dataset = data.load(name, options.data_dir, options.split)
    size = runtime.Segmenter(options.model).input_size
    images = some_images(dataset, size, options.images)
    cache = Path(options.cache).resolve()
    everyone = [*interpreters.installed(options.tflite_runtime), *emulated(cache)]
    try:
        rows = interpreters.compare(options.model, images, everyone)
    except runtime.ModelError as error:
        raise UserError(str(error)) from error
    print(interpreters.table(rows))
    protocol = f"{len(images)} photos of {dataset.title}, {Path(options.model).name}; ARM under {emulator(cache)}"
    machine.write("interpreters", {"protocol": protocol, "rows": rows})


def emulated(cache: Path) -> list[Interpreter]:
    """The interpreters on each of `PROCESSORS`, with XNNPACK and without; builds what they need in `cache`."""
    found = []
    for title, python in pythons(cache).items():
        for package, (module, _) in WHEELS.items():
            environment = {"PYTHONPATH": str(cache / package)}
            for delegates in (True, False):
                found.append(Interpreter(package, module, python, delegates, title, environment))
    return found


def pythons(cache: Path) -> dict[str, tuple[str, ...]]:
    """The command that starts Python on each of `PROCESSORS`; builds what it needs in `cache`."""
    _build(cache)
    commands = {}
    for title, (processor, part, features) in PROCESSORS.items():
        root = cache / "roots" / processor
        _root(cache, root, part, features)
        commands[title] = (str(_qemu(cache)), "-cpu", processor, "-L", str(root), str(root / "usr/bin/python3"))
    return commands


def emulator(cache: Path) -> str:
    """What the emulator calls itself."""
    said = subprocess.run([_qemu(cache), "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]


def _qemu(cache: Path) -> Path:
    return cache / "qemu" / "usr" / "bin" / "qemu-aarch64-static"


def _build(cache: Path) -> None:
    """The emulator, the ARM64 system and the wheels, each made once; UserError names the step that failed."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not there: the ARM64 system is made of Debian's packages.")
    _once(cache / "qemu", _download_emulator)
    _once(cache / "root", _download_system)
    for package, (_, wanted) in WHEELS.items():
        _once(cache / package, lambda folder, wanted=wanted: _download_wheels(folder, wanted))


def _once(folder: Path, make) -> None:
    """`folder`, made by `make(folder)` in another place first: an interrupted build leaves nothing half-made."""
    if folder.is_dir():
        return
    print(f"making {folder}")
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    make(unfinished)
    unfinished.rename(folder)


def _download_emulator(folder: Path) -> None:
    packages = folder / "packages"
    packages.mkdir()
    needed = _call(["apt-cache", "depends", "qemu-user"], packages).splitlines()
    libraries = [line.split()[-1] for line in needed if "  Depends: lib" in line and not line.endswith(" libc6")]
    wanted = ["qemu-user-static", "qemu-user", *libraries]
    _call(["apt-get", "download", "-o", "APT::Sandbox::User=root", *wanted], packages)
    _unpack(packages, folder)


def _download_system(folder: Path) -> None:
    """Debian's Python for ARM64 and what it needs, through an apt that knows nothing of this machine's packages."""
    apt = folder.with_name("apt")
    shutil.rmtree(apt, ignore_errors=True)
    for part in ("state/lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True)
    (apt / "status").touch()
    settings = ["APT::Architecture=arm64", "APT::Architectures=arm64", "APT::Sandbox::User=root", "Debug::NoLocking=1"]
    settings += [f"Dir::State={apt / 'state'}", f"Dir::State::status={apt / 'status'}", f"Dir::Cache={apt / 'cache'}"]
    apt_get = ["apt-get", *(word for setting in settings for word in ("-o", setting))]
    _call([*apt_get, "update"], folder)
    _call([*apt_get, "-y", "--no-install-recommends", "--download-only", "install", *DEBIAN], folder)
    _unpack(apt / "cache" / "archives", folder)
    shutil.rmtree(apt)


def _download_wheels(folder: Path, wanted: tuple[str, ...]) -> None:
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--implementation", "cp"]
    _call([*pip, "--python-version", PYTHON, *platforms, "--target", str(folder), *wanted], folder)


def _unpack(packages: Path, folder: Path) -> None:
    for package in sorted(packages.glob("*.deb")):
        _call(["dpkg", "-x", str(package), str(folder)], folder)
        package.unlink()


def _call(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"{' '.join(arguments[:3])} ... failed: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def _root(cache: Path, root: Path, part: str, features: str) -> None:
    """The ARM64 system with a /proc/cpuinfo that tells of the emulated processor."""
    if root.is_dir():
        return
    shutil.copytree(cache / "root", root, symlinks=True, copy_function=os.link)
    (root / "proc").mkdir(exist_ok=True)
    described = {"BogoMIPS": "50.00", "Features": features, "CPU implementer": "0x41", "CPU architecture": "8"}
    described |= {"CPU variant": "0x0", "CPU part": part, "CPU revision": "1"}
    lines = "".join(f"{key}\t: {value}\n" for key, value in described.items())
    (root / "proc" / "cpuinfo").write_text("".join(f"processor\t: {core}\n{lines}\n" for core in range(2)))


if __name__ == "__main__":
    command.run(main)
