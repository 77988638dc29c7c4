"""Time the app's two ways to draw a camera's frame, in a JVM on this machine: `python -m benchmarks.drawing`.

The CPU's pixels and the shaders, stage by stage, on a 1280x720 frame. OpenGL here is Mesa's llvmpipe, which runs
shaders on the CPU: it is no GPU. Writes results/drawing.json. `android_demo/test.sh` builds what this runs.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, markdown
from keras_models import command
from keras_models.command import UserError

DEMO = Path(__file__).parents[1] / "android_demo"


@dataclass(frozen=True)
class DrawingOptions:
    """The command has no flags but --help."""


def main(argv: list[str] | None = None) -> None:
    """Run the JVM's benchmark and keep what it found with the machine."""
    command.parse(
        DrawingOptions,
        argv,
        program="python -m benchmarks.drawing",
        description=__doc__,
        example="python -m benchmarks.drawing",
    )
    classpath = DEMO / "build" / "test" / "classpath.txt"
    if not classpath.is_file():
        raise UserError("The app's tests are not built: run android_demo/test.sh first.")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "drawing.json"
        command_line = ["java", "-Xmx2g", "-Dgolden=build/golden", "-cp", classpath.read_text().strip()]
        subprocess.run([*command_line, "pocketseg.DrawingBenchKt", str(out)], cwd=DEMO, check=True)
        found = json.loads(out.read_text())
    machine.write("drawing", found)
    for row in found["rows"]:
        print(f"{row['path']:12} {row['drawn']:9} {row['effect']:8} {row['median_ms']:6.1f} ms")


def table(result: dict) -> str:
    """The rows of docs/phone.md."""
    steps = ("preprocessing_ms", "postprocessing_ms", "drawing_ms", "median_ms", "p90_ms")
    header = ["drawn by", "pixels", "effect", "frame in, model's input", "mask", "drawing", "all", "p90"]
    rows = [
        [row["path"], row["drawn"], row["effect"], *(f"{row[step]:.1f} ms" for step in steps)] for row in result["rows"]
    ]
    note = (
        f"Medians of {result['runs']} frames of {result['frame']} without inference, mask of {result['model']}; "
        f"{markdown.machine(result)}; OpenGL by {result['renderer']}, which is no GPU."
    )
    return f"{markdown.table(header, rows, words=3)}\n\n{note}"


if __name__ == "__main__":
    command.run(main)
