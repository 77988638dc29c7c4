"""Time the app's two ways to draw a camera's frame, in a JVM on this machine: `python -m benchmarks.drawing`.

The CPU's pixels and the shaders, stage by stage, on a 1280x720 frame. OpenGL here is Mesa's llvmpipe, which runs
shaders on the CPU: it is no GPU. Writes results/drawing.json. `android_demo/test.sh` builds what this runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from benchmarks.machine import RESULTS, write

DEMO = Path(__file__).parents[1] / "android_demo"


def main() -> None:
    """Run the JVM's benchmark and keep what it found with the machine."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    classpath = DEMO / "build" / "test" / "classpath.txt"
    if not classpath.is_file():
        raise SystemExit("error: the app's tests are not built: run android_demo/test.sh first.")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "drawing.json"
        command_line = ["java", "-Xmx2g", "-Dgolden=build/golden", "-cp", classpath.read_text().strip()]
        subprocess.run([*command_line, "pocketseg.DrawingBenchKt", str(out)], cwd=DEMO, check=True)
        found = json.loads(out.read_text())
    write("drawing", found)
    for row in found["rows"]:
        print(f"{row['path']:12} {row['drawn']:9} {row['effect']:8} {row['median_ms']:6.1f} ms")


def table() -> str:
    """The rows of docs/phone.md."""
    result = json.loads((RESULTS / "drawing.json").read_text(encoding="utf-8"))
    m, steps = result["machine"], ("preprocessing_ms", "postprocessing_ms", "drawing_ms", "median_ms", "p90_ms")
    lines = [
        "| drawn by | pixels | effect | frame in, model's input | mask | drawing | all | p90 |",
        "| --- | --- | --- " + "| ---: " * 5 + "|",
    ]
    for row in result["rows"]:
        cells = [row["path"], row["drawn"], row["effect"], *(f"{row[step]:.1f} ms" for step in steps)]
        lines.append("| " + " | ".join(cells) + " |")
    note = (
        f"Medians of {result['runs']} frames of {result['frame']} without inference, mask of {result['model']}; "
        f"{m['processor']}, {m['cores']} cores, {m['date']}; OpenGL by {result['renderer']}, which is no GPU."
    )
    return "\n".join(lines) + f"\n\n{note}"


if __name__ == "__main__":
    main()
