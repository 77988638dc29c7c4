"""Make a preset of a finished run: weights, card, int8 model and spec, all by the project's own commands.

`python -m benchmarks.preset RUN NAME --licence "research use only"` measures float and int8 on the test split of the
data that the run trained on and writes keras_models/presets/NAME/. The run chose its weights by the validation split.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from keras_models import command, complexity, models
from keras_models.command import UserError, option

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class PresetOptions:
    """The command's flags."""

    run: str = option(positional=True, metavar="RUN", help="the run folder")
    name: str = option(positional=True, metavar="NAME", help="what to call the preset")
    licence: str = option(metavar="TEXT", help="what the training data's licence allows of the weights")


def main(argv: list[str] | None = None) -> None:
    """Convert, measure, write."""
    options = command.parse(
        PresetOptions,
        argv,
        program="python -m benchmarks.preset",
        description=__doc__,
        example='python -m benchmarks.preset runs/mine portrait-mine --licence "my own photos"',
    )
    source = Path(options.run)
    if not (source / "model.keras").is_file() or not (source / "run.json").is_file():
        raise UserError(f"{source} is no finished run: it needs model.keras and run.json.")
    run = json.loads((source / "run.json").read_text(encoding="utf-8"))
    data = ["--dataset", run["options"]["dataset"]]
    if run["options"]["data_dir"]:
        data += ["--data-dir", run["options"]["data_dir"]]
    final = ROOT / "keras_models" / "presets" / options.name
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=final.parent) as place:
        folder = Path(place) / options.name
        folder.mkdir()
        _make(folder, options, source, run, data)
        shutil.rmtree(final, ignore_errors=True)
        folder.rename(final)
    print(f"wrote {final}")


def _make(folder: Path, options: PresetOptions, source: Path, run: dict, data: list[str]) -> None:
    """Everything that a preset is, in `folder`."""
    shutil.copyfile(source / "model.keras", folder / "model.keras")
    model = models.load(source)
    counted = complexity.count(model)
    history = list(csv.DictReader((source / "history.csv").open(encoding="utf-8")))
    card = {
        "name": options.name,
        "network": model.name,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "input_size": list(model.input_shape[1:3]),
        "trained_on": f"{run['options']['dataset']}, {len(run['data']['train'])} training photos",
        "selected_on": f"{len(run['data']['val'])} validation photos, best epoch by foreground IoU",
        "licence": options.licence,
        "classes": run.get("classes", {}),
        "seed": run["options"]["seed"],
        "epochs": len(history),
        "training_hours": round(sum(float(row["seconds"]) for row in history) / 3600, 2),
        "recipe": run["recipe"],
        "versions": run["versions"],
        "machine": machine.describe(),
    }
    card_file = folder / "card.json"
    command.write_text(card_file, json.dumps(card, indent=1) + "\n")  # the converter takes classes and licence from it
    int8, weights = folder / f"{options.name}-int8.tflite", folder / "model.keras"
    _run(ROOT / "tflite" / "convert.py", weights, "--quantize", "int8", *data, "-o", int8)
    _run("-m", "tflite.verify", int8, "--against", weights, *data, "--split", "test")
    figures = {name: _evaluate(file, data) for name, file in (("float32", weights), ("int8", int8))}
    command.write_text(card_file, json.dumps(card | {"figures": figures}, indent=1) + "\n")
    for name, measured in figures.items():
        print(f"{name:8s} foreground IoU {measured['foreground_iou']:.4f} on {measured['data']}")


def _evaluate(model: Path, data: list[str]) -> dict:
    file = model.parent / "figures.json"
    _run("-m", "keras_models.evaluate", model, *data, "--split", "test", "--json", file)
    measured = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    return measured


def _run(*arguments) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, cwd=ROOT)


if __name__ == "__main__":
    command.run(main)
