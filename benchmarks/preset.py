"""Make a preset of a finished run: weights, card, int8 model and spec, all by the project's own commands.

It converts with photos of the run's training split, checks int8 on its validation split, measures float and int8 on
each of --sets, by size of the person, number of people and light too, and writes keras_models/presets/NAME/. The run
chose its weights by the validation split; the sets only measure.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, steps
from benchmarks.sets import SETS, parse_set
from keras_models import command, complexity, models
from keras_models.command import UserError, option
from keras_models.evaluate import main_figure
from keras_models.training import provenance, runs

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class PresetOptions:
    """The command's flags."""

    run: str = option(positional=True, metavar="RUN", help="the run folder")
    name: str = option(positional=True, metavar="NAME", help="what to call the preset")
    licence: str = option(metavar="TEXT", help="what the training data's licence allows of the weights")
    use: str = option(metavar="TEXT", help="what the preset is for")
    limits: str = option(metavar="TEXT", help="what it cannot do")
    sets: tuple[str, ...] = option(metavar=SETS, help="photos to measure on")
    limit: float = option(0.5, least=0, metavar="POINTS", help="largest loss of IoU by int8, as of verify")


def main(argv: list[str] | None = None) -> int:
    """Convert, measure, write; the preset's folder is made whole or not at all."""
    options = command.parse(
        PresetOptions,
        argv,
        program="python -m benchmarks.preset",
        description=__doc__,
        example='python -m benchmarks.preset runs/mine mine --licence "my own photos" --use "portraits" '
        '--limits "one light" --sets portraits=folder:photos:test',
    )
    source, measured_on = Path(options.run), dict(_split(text) for text in options.sets)
    if not (source / "model.keras").is_file() or not (source / "run.json").is_file():
        raise UserError(f"{source} is no finished run: it needs model.keras and run.json.")
    run = runs.read_run(source)
    trained_on = ["--dataset", run["options"]["dataset"]]
    if run["options"]["data_dir"]:
        trained_on += ["--data-dir", str(Path(run["options"]["data_dir"]).resolve())]
    place = ROOT / "keras_models" / "presets" / options.name
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=place.parent) as temporary:
        folder = Path(temporary) / options.name
        folder.mkdir()
        weights, int8 = folder / "model.keras", folder / f"{options.name}-int8.tflite"
        shutil.copyfile(source / "model.keras", weights)
        card = _card(options, source, run)
        _write(folder, card)  # the converter takes name, classes and licence from it
        steps.run("tflite/convert.py", weights, "--quantize", "int8", *trained_on, "-o", int8, lost="preset")
        checked = "--against", weights, *trained_on, "--split", "val", "--limit", options.limit
        steps.run("-m", "tflite.verify", int8, *checked, lost="preset")
        figures = {}
        for name, data in measured_on.items():
            worst = [
                "--worst",
                source / f"worst-{name}.jpg",
            ]  # other people's photos: beside the run, not in the preset
            measured = {"float32": _evaluate(weights, data, "--attributes", "measured"), "int8": {}}
            measured["int8"] = _evaluate(int8, data, "--attributes", "measured", *worst)
            figures[name] = measured
        _write(folder, card | {"figures": figures})
        shutil.rmtree(place, ignore_errors=True)
        folder.rename(place)
    for name, measured in figures.items():
        key = main_figure(len(measured["int8"]["class_iou"]))
        ious = ", ".join(f"{form} {found[key]:.4f}" for form, found in measured.items())
        print(f"{name:16s} {key} {ious} on {measured['int8']['data']}, {measured['int8']['images']} photos")
    print(f"wrote {place}")
    return 0


def _card(options: PresetOptions, source: Path, run: dict) -> dict:
    model = models.load(source)
    counted = complexity.count(model)
    names = {split: run["data"][split] for split in ("train", "val")}
    selected = main_figure(len(run.get("classes", {}).get("names", ()))).replace("_iou", " IoU")
    return {
        "name": options.name,
        "network": model.name,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "input_size": list(model.input_shape[1:3]),
        "intended_use": options.use,
        "limits": options.limits,
        "licence": options.licence,
        "trained_on": f"{run['options']['dataset']}, {_counted(names['train'])}",
        "selected_on": f"{_counted(names['val'])}, best epoch by {selected}",
        "classes": run.get("classes", {}),
        "seed": run["options"]["seed"],
        **provenance.of_run(source, run),
        "taught_by": provenance.behind(run["recipe"]["stages"][-1].get("teacher")),
        "versions": run["versions"],
        "machine": machine.describe(),
    }


def _counted(names: list[str]) -> str:
    """How many photos, and of a mix how many of each set."""
    sets = [name.split("/")[0] for name in names if "/" in name]
    parts = ", ".join(f"{sets.count(name)} of {name}" for name in dict.fromkeys(sets))
    return f"{len(names)} photos" + (f" ({parts})" if parts else "")


def _split(text: str) -> tuple[str, list[str]]:
    name, kind, folder, split = parse_set(text)
    return name, ["--dataset", kind, "--data-dir", str(Path(folder).resolve()), "--split", split]


def _evaluate(model: Path, data: list[str], *more) -> dict:
    return steps.figures("-m", "keras_models.evaluate", model, *data, *more, lost="preset")


def _write(folder: Path, card: dict) -> None:
    command.write_text(folder / "card.json", json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main)
