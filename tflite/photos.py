"""Which photos a command converts with and measures on: those asked for, or those that the network was trained on.

The built-in drawings are used where they are asked for by name, or where the network was trained on them.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from keras_models import data, models
from keras_models.command import UserError
from tflite.measure.layers import FEW


def labelled(source: Path, dataset: str | None, data_dir: str | None, split: str) -> data.Dataset:
    """A split of the dataset that the flags name, else of the one that the network at `source` was trained on.

    `source`: the network's `.keras` file. UserError when there is neither.
    """
    if dataset or data_dir:
        return data.load(dataset or "folder", data_dir, split)
    run = _trained_on(source)
    if run is None:
        raise UserError(
            f"{source} does not say what it was trained on. Give --data-dir DIR with photos and masks; to try the "
            "command on the built-in drawings, --dataset drawings."
        )
    if run["data_dir"] and not Path(run["data_dir"]).is_dir():
        raise UserError(
            f"{source.parent} was trained on {run['dataset']} in {run['data_dir']}, which is not there. Say where it "
            "is with --data-dir DIR."
        )
    return data.load(run["dataset"], run["data_dir"], split)


def _trained_on(source: Path) -> dict | None:
    """The dataset and data_dir of the run that `source` belongs to; None without a run, or one on data in memory."""
    run = models.record(source.parent, "run.json")
    with models.reading(source.parent / "run.json"):
        options = run.get("options", {})
        found = {key: options.get(key) for key in ("dataset", "data_dir")}
        if wrong := [value for value in found.values() if not isinstance(value, str | None)]:
            raise TypeError(f"its dataset or data_dir is {str(wrong[0])[:40]!r}")
    return found if found["dataset"] else None


def calibration(
    source: Path, folder: str | None, dataset: str | None, data_dir: str | None, count: int, size: tuple[int, int]
) -> tuple[dict, np.ndarray]:
    """What the spec says of the calibration photos, and the photos, RGB uint8 (n, *size, 3), prepared as in training.

    They come from `folder`, a dataset's training split or photos alone, else as in `labelled`. UserError when there are
    none.
    """
    photos, title = _calibration_photos(source, folder, dataset, data_dir)
    names, images = data.calibration_images(photos, count, size)
    print(f"calibration: {len(names)} images of {title}")
    if len(names) < FEW:
        print(f"warning: {len(names)} images are few; with {FEW} or more the ranges are safer", file=sys.stderr)
    brightness = images.mean(axis=(1, 2, 3))
    if len(names) > 1 and brightness.std() < 10:
        print(
            f"warning: the calibration images are alike: all have a brightness near {brightness.mean():.0f} of 255; "
            "add photos in other light",
            file=sys.stderr,
        )
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return {"source": title, "count": len(names), "names": names, "sha256": digest}, images


def _calibration_photos(source: Path, folder: str | None, dataset: str | None, data_dir: str | None) -> tuple:
    """A folder of photos or a dataset, and its title."""
    if folder is None:
        try:
            found = labelled(source, dataset, data_dir, "train")
        except UserError as error:
            raise UserError(f"{error} For calibration alone, photos without masks do: --calibration DIR.") from error
        return found, found.title
    if not Path(folder).is_dir():
        raise UserError(f"There is no folder {folder}. --calibration must name a folder of photos.")
    resolved = Path(folder).resolve()
    if (resolved / "masks").is_dir():  # a whole dataset: what it tests on must not calibrate
        return data.load("folder", resolved, "train"), f"{resolved.name}, its training split"
    return resolved, resolved.name
