"""Models by name: a preset, a run folder, a `.keras` or a `.tflite` file, found, loaded, and behind one call.

A preset's folder in `presets/` holds `model.keras`, `card.json`, and the converted `NAME-int8.tflite` with its spec.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_models.command import UserError
from keras_models.pictures import palette

_FOLDER = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/model.keras"))


def find(source: str | Path) -> Path:
    """The `.keras` file of a preset's name, a run folder or a `.keras` file. UserError says what was expected."""
    path = Path(source)
    if str(source) in preset_names():
        return _FOLDER / str(source) / "model.keras"
    if path.is_dir():
        if (path / "model.keras").is_file():
            return path / "model.keras"
        raise UserError(f"{path} holds no model.keras. A run folder has one when its training has finished an epoch.")
    if path.suffix == ".keras" and path.is_file():
        return path
    raise UserError(
        f"There is no model {str(source)!r}. Give a preset ({', '.join(preset_names()) or 'none yet'}), a run folder "
        "or a .keras file."
    )


def load(source: str | Path) -> keras.Model:
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


@dataclass(frozen=True)
class Predictor:
    """A network behind one call, whatever file it came from.

    `logits` takes RGB uint8 (photos, height, width, 3) at `input_size` and gives float32 (photos, h, w, channels).
    `class_names` and `colors` (RGB) have one entry per class: one more than channels when there is one channel.
    `fill_contours`: its spec asks whoever shows its masks to fill them; no figure is measured so.
    """

    name: str
    input_size: tuple[int, int]
    logits: Callable[[np.ndarray], np.ndarray]
    class_names: tuple[str, ...]
    colors: list[list[int]]
    fill_contours: bool = False


def predictor(source: str | Path) -> Predictor:
    """The network of a run folder, preset, `.keras` or `.tflite` file; UserError for anything else."""
    if Path(source).suffix == ".tflite":
        # The device side knows nothing of Keras; this is the one place that looks from here to there.
        from tflite import runtime

        try:
            segmenter = runtime.Segmenter(str(source))
        except ValueError as error:
            raise UserError(str(error)) from error
        return Predictor(
            Path(source).stem,
            segmenter.input_size,
            lambda images: np.stack([segmenter.logits(image) for image in images]),
            *segmenter.classes,
            segmenter.fills_contours,
        )
    model = load(source)
    return Predictor(
        model.name,
        model.input_shape[1:3],
        lambda images: keras.ops.convert_to_numpy(model.predict_on_batch(np.asarray(images))),
        *classes_of(source, model.output_shape[-1]),
    )
