"""How much work is a model for a phone's processor? `python -m benchmarks.instructions A.tflite B.tflite ...`

Counts the instructions of one inference by LiteRT with XNNPACK, one thread, on the emulated ARM processors of
`arm64.py`. No phone is needed, and the counts are the same on every machine. They are not times: memory, and how many
instructions a processor finishes at once, are left out. Writes results/instructions.json.

Needs what `arm64.py` needs, a C compiler, and a qemu before 9, as in Debian 12, Ubuntu 22.04 and 24.04.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arm64, machine
from keras_models import command
from keras_models.command import UserError, option
from tflite import runtime

PLUGIN = Path(__file__).with_name("instructions.c")
FEW, MANY = 2, 12  # inferences; the difference leaves out the start and the first inference

_PROGRAM = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
details = interpreter.get_input_details()[0]
bytes = np.random.default_rng(0).integers(0, 256, details["shape"])
real = np.issubdtype(details["dtype"], np.floating)
interpreter.set_tensor(details["index"], (bytes / 255 if real else bytes).astype(details["dtype"]))
for _ in range(int(sys.argv[2])):
    interpreter.invoke()
"""


@dataclass(frozen=True)
class InstructionsOptions:
    """The command's flags."""

    models: tuple[str, ...] = option(
        positional=True, metavar="MODEL.tflite", help="the models; ratios are to the first"
    )
    cache: str = option("build/arm64", metavar="DIR", help="where the ARM64 system is kept")


def main(argv: list[str] | None = None) -> None:
    """Count, print and write."""
    options = command.parse(
        InstructionsOptions,
        argv,
        program="python -m benchmarks.instructions",
        description=__doc__,
        example="python -m benchmarks.instructions float32.tflite int8.tflite",
    )
    for model in options.models:
        runtime.load_interpreter(model)
    cache = Path(options.cache).resolve()
    rows = []
    with counter(cache) as counted:
        for model in options.models:
            row = {"model": Path(model).stem, "processors": counted(model)}
            rows.append(row)
            figures = (f"{name} {figure['instructions'] / 1e6:.1f} M" for name, figure in row["processors"].items())
            print(f"{row['model']:32s} {', '.join(figures)}", flush=True)
    protocol = f"LiteRT with XNNPACK, one thread, under {arm64.emulator(cache)}"
    machine.write("instructions", {"protocol": protocol, "rows": rows})


@contextlib.contextmanager
def counter(cache: Path, processors: tuple[str, ...] = tuple(arm64.PROCESSORS), many: int = MANY) -> Iterator[Callable]:
    """A function that gives the instructions of one inference of a `.tflite` on each of `processors`, by name.

    `many` inferences are run besides few; `cache` keeps the ARM64 system. UserError when something is missing.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise UserError("There is no C compiler for qemu's plugin: sudo apt-get install gcc")
    pythons = arm64.pythons(cache)
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "instructions.so"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", plugin, PLUGIN], check=True)

        def counted(model: str) -> dict[str, dict[str, int]]:
            found = {}
            for processor in processors:
                few, all_of_them = (count(model, n, pythons[processor], plugin, cache) for n in (FEW, many))
                each = [round((b - a) / (many - FEW)) for a, b in zip(few, all_of_them, strict=True)]
                found[processor] = {"instructions": each[0], "vector_instructions": each[1]}
            return found

        yield counted


def count(model: str, inferences: int, python: tuple[str, ...], plugin: Path, cache: Path) -> tuple[int, int]:
    """All and vector instructions of a process that runs the model so many times; UserError when it fails."""
    qemu, *arguments = python
    libraries = cache / "qemu" / "usr" / "lib" / "x86_64-linux-gnu"
    done = subprocess.run(
        [qemu.removesuffix("-static"), "-plugin", plugin, *arguments, "-c", _PROGRAM, model, str(inferences)],
        env=os.environ
        | {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(cache / "ai-edge-litert"), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    found = re.search(r"instructions (\d+) vector (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise UserError(f"{model} does not run under {Path(qemu).name}: {said}")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    command.run(main)
