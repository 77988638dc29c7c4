"""Trained weights with their cards: one folder per preset. `load_model` also reads run folders and `.keras` files.

A preset's folder holds `model.keras`, `card.json`, and the converted `NAME-int8.tflite` with its spec `.json`.
"""

from __future__ import annotations

from pathlib import Path

import keras

from keras_models.command import UserError

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
