"""Trained weights with their cards: one folder per preset. `load_model` also reads run folders and `.keras` files.

A preset's folder holds `model.keras`, `card.json`, and the converted `NAME-int8.tflite` with its spec `.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras

from keras_models.command import UserError
from keras_models.pictures import palette

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/model.keras"))


def find(source: str | Path) -> Path:
    """The `.keras` file of a preset's name, a run folder or a `.keras` file. UserError says what was expected."""
    path = Path(source)
    if str(source) in names():
        return _FOLDER / str(source) / "model.keras"
    if path.is_dir():
        if (path / "model.keras").is_file():
            return path / "model.keras"
        raise UserError(f"{path} holds no model.keras. A run folder has one when its training has finished an epoch.")
    if path.suffix == ".keras" and path.is_file():
        return path
    raise UserError(
        f"There is no model {str(source)!r}. Give a preset ({', '.join(names()) or 'none yet'}), a run folder or a "
        ".keras file."
    )


def load_model(source: str | Path) -> keras.Model:
    """The network of a preset's name, a run folder or a `.keras` file, not compiled. UserError for a broken file."""
    path = find(source)
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise UserError(f"{path} is no model that Keras can read: {str(error).splitlines()[0]}") from error


def classes_of(source: str | Path, outputs: int) -> tuple[tuple[str, ...], list[list[int]]]:
    """Names and RGB colours of the classes of a preset, run folder or `.keras` file with `outputs` channels of logits.

    They are those of the data that it was trained on, as the run.json or card.json beside the file says; without one,
    background and person for up to two channels, `class 0` and so on for more. One channel has two classes.
    """
    count, names, colors = max(2, outputs), None, None
    for facts in (find(source).parent / name for name in ("run.json", "card.json")):
        if facts.is_file():
            found = json.loads(facts.read_text(encoding="utf-8")).get("classes", {})
            names, colors = found.get("names"), found.get("colors")
    if not names or len(names) != count:
        names, colors = ("background", "person") if count == 2 else [f"class {i}" for i in range(count)], None
    return tuple(names), colors or palette(count)[:count].tolist()
