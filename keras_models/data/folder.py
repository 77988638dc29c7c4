"""Writing a dataset in the project's own layout: `images/`, `masks/`, lists, `classes.txt`, and where it comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from keras_models import command, pictures

LICENCE_FILES = ("LICENSE", "LICENCE", "COPYING")


def write_mask(path: Path, labels: np.ndarray, colors: np.ndarray | None = None) -> None:
    """Labels uint8 (height, width) as a PNG: with `colors` (RGB uint8, (256, 3)) as its palette, else 0 and 255."""
    pictures.write(path, labels if colors is not None else (labels == 1).astype(np.uint8) * 255, colors)


def write_classes(folder: Path, names: tuple[str, ...], colors: np.ndarray) -> None:
    """`classes.txt`: one class per line with its colour."""
    lines = [" ".join(map(str, (name, *color))) for name, color in zip(names, colors.tolist(), strict=False)]
    command.write_text(folder / "classes.txt", "\n".join(lines) + "\n")


def write_lists(folder: Path, splits: dict[str, list[str]]) -> None:
    """`train.txt` and so on, one name per line. A split without photos gets no list, and loses the one it had."""
    for split, names in splits.items():
        path = folder / f"{split}.txt"
        if names:
            command.write_text(path, "\n".join(names) + "\n")
        else:
            path.unlink(missing_ok=True)


def write_source(folder: Path, source: Path, made: str) -> str:
    """`SOURCE.md`: how the set was `made` and whose licence holds; the licence's file itself is copied beside it.

    `source` is the set's folder, or a mix. Gives the line on the licence, for whoever started the command.
    """
    files = sorted(source.iterdir()) if source.is_dir() else []
    notes = [path for path in files if path.stem.upper() in (*LICENCE_FILES, "SOURCE")]
    for path in notes:
        shutil.copy(path, folder / (path.name if path.stem.upper() in LICENCE_FILES else f"SOURCE-of-{path.name}"))
    licences = [path.name for path in notes if path.stem.upper() in LICENCE_FILES]
    if licences:
        licence = f"The licence of the photos and masks is that of the set they come from: {', '.join(licences)} here."
    else:
        licence = (
            "The photos and masks keep the licences of the sets they come from, of which no LICENSE file is here: read "
            "their terms before you pass these photos, or a network trained on them, to others."
        )
    command.write_text(folder / "SOURCE.md", f"# Where these photos come from\n\n{made}\n\n{licence}\n")
    return licence
