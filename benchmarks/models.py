"""Every form of one network side by side, by the project's own commands.

`python -m benchmarks.models extremec3-eg1800 --dataset eg1800 --data-dir DIR` converts the network to float32, float16,
dynamic and int8 (calibrated on photos of --data-dir), measures each on the test split, counts operations outside int8,
and times all of them in one interleaved run. Writes results/models-NAME.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from keras_models import command
from keras_models.command import option

FORMS = ("float32", "float16", "dynamic", "int8")
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class ModelsOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset or .keras")
    dataset: str = option("eg1800", help="kind of dataset")
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    calibration: str | None = option(None, metavar="DIR", help="photos to calibrate on (default: the dataset's folder)")
    runs: int = option(200, help="timed runs per model")


def main(argv: list[str] | None = None) -> None:
    """Convert, evaluate, inspect and time; print and write the table."""
    options = command.parse(
        ModelsOptions,
        argv,
        program="python -m benchmarks.models",
        description=__doc__,
        example="python -m benchmarks.models extremec3-eg1800 --dataset eg1800 --data-dir eg1800",
    )
    where = ["--dataset", options.dataset] + (["--data-dir", options.data_dir] if options.data_dir else [])
    photos = options.calibration or options.data_dir
    with tempfile.TemporaryDirectory() as folder:
        files = {form: Path(folder) / f"{form}.tflite" for form in FORMS}
        rows = []
        for form, file in files.items():
            calibration = ["--calibration", photos] if form == "int8" and photos else []
            _run(ROOT / "tflite" / "convert.py", options.model, "--quantize", form, *calibration, "-o", file)
            found = _json("-m", "tflite.inspect", file, folder=folder)
            measured = _json("-m", "keras_models.evaluate", file, *where, folder=folder)
            rows.append({"form": form, "bytes": file.stat().st_size, **_without_path(found), **measured})
        timed = _json(
            "-m", "tflite.benchmark", *files.values(), "--threads", "1,2", "--runs", options.runs, folder=folder
        )
        for row, file in zip(rows, files.values(), strict=True):
            for run in timed["runs"]:
                if Path(run["model"]).name == file.name:
                    row[f"median_ms_{run['threads']}"] = run["median_ms"]
    for row in rows:
        for threads in (1, 2):
            row[f"speedup_{threads}"] = rows[0][f"median_ms_{threads}"] / row[f"median_ms_{threads}"]
        print(f"{row['form']:8s} foreground IoU {row['foreground_iou']:.4f}  {row['median_ms_1']:.2f} ms")
    name = Path(options.model).stem
    protocol = f"{rows[0]['images']} test photos of {options.dataset}; medians of {options.runs} interleaved runs"
    machine.write(f"models-{name}", {"model": name, "protocol": protocol, "forms": rows})


def _run(*arguments) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, cwd=ROOT)


def _json(*arguments, folder: str) -> dict:
    file = Path(folder) / "figures.json"
    _run(*arguments, "--json", file)
    return json.loads(file.read_text(encoding="utf-8"))


def _without_path(found: dict) -> dict:
    return {key: value for key, value in found.items() if key not in ("model", "path", "ops", "operations")}


if __name__ == "__main__":
    main()
