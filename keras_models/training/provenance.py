"""How the weights of a model came about, for the card of what is made of it: commands, recipes, hours, step by step."""

from __future__ import annotations

from pathlib import Path

from keras_models import models
from keras_models.training import runs

_SAID = ("name", "command", "epochs", "training_hours", "recipe", "began_from")  # of a card
_FLAGS = ("dataset", "data_dir", "weights", "recipe", "seed", "precision")  # of a training's command


def behind(model: str | None) -> dict | None:
    """What stands behind a preset, a run folder, or a folder with a card; of another model its name; None of None.

    UserError for a run.json or card.json that is damaged.
    """
    if model is None:
        return None
    if card := models.card(model):
        return {key: card.get(key) for key in _SAID}
    folder = Path(model)
    run = models.record(folder, "run.json")
    with models.reading(folder / "run.json"):
        return {"name": folder.name} | (of_run(folder, run) if run else {})


def of_run(folder: Path, run: dict) -> dict:
    """How long a finished run took, by which command and recipe, and from what it began; `run`: its run.json."""
    history = runs.read_history(folder)
    weights = run["options"].get("weights")
    gone = weights and weights not in models.preset_names() and not Path(weights).exists()
    return {
        "epochs": len(history),
        "training_hours": round(sum(row["seconds"] for row in history) / 3600, 2),
        "command": _command(run["options"]),
        "recipe": run["recipe"] | {"stages": [_portable(stage) for stage in run["recipe"]["stages"]]},
        "began_from": {"name": Path(weights).name} if gone else behind(weights),
    }


def _command(options: dict) -> str:
    """The command of the run, with the names of files and folders alone."""
    flags = [f"--{name.replace('_', '-')} {Path(str(options[name])).name}" for name in _FLAGS if options.get(name)]
    changes = [f"--{name.replace('_', '-')} {_as_typed(value)}" for name, value in options.get("changes", {}).items()]
    return " ".join(["python -m keras_models.train", str(options["network"]), *flags, *changes])


def _as_typed(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else Path(str(value)).name


def _portable(stage: dict) -> dict:
    return stage | {"teacher": stage["teacher"] and Path(stage["teacher"]).name}
