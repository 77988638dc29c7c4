"""Look at a dataset before training on it: `python -m keras_models.data check DIR`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_models import command, data, pictures
from keras_models.command import option
from keras_models.data.datasets import SPLITS, read_each, splits
from keras_models.data.images import VOID


@dataclass(frozen=True)
class CheckOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    dataset: str = option("folder", metavar="KIND", help="its kind")
    sheet: str | None = option(None, metavar="FILE.png", help="write a contact sheet of photos with their masks here")
    sheet_count: int = option(24, help="photos on the contact sheet")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError names every photo, mask or list that is broken."""
    options = command.parse(
        CheckOptions,
        argv,
        program="python -m keras_models.data check",
        description=__doc__,
        example="python -m keras_models.data check photos --sheet photos.png",
    )
    available = splits(options.dataset, options.data_dir)
    found = {
        split: data.load(options.dataset, options.data_dir, split) if split in available else None for split in SPLITS
    }
    shown = []
    for split, dataset in found.items():
        if dataset is None:
            print(f"{split:6s} none")
            continue
        every = max(1, len(dataset) // options.sheet_count)
        colors = pictures.class_colors(dataset)
        tiles = read_each(
            dataset,
            lambda i, m, colors=colors: (_tile(i, m, colors), i.shape, np.bincount(m.ravel(), minlength=256) / m.size),
            command.progress(dataset.title),
        )
        tiles = list(tiles)
        shown += [tile for tile, _, _ in tiles[::every]]
        shares = np.array([share for _, _, share in tiles])
        shapes = sorted({shape[:2] for _, shape, _ in tiles})
        print(f"{split:6s} {len(dataset)} photos, {_size(shapes[0])} to {_size(shapes[-1])}")
        for label, name in [*enumerate(dataset.class_names), (VOID, "void")]:
            if label != VOID or shares[:, VOID].any():
                missing = np.count_nonzero(shares[:, label] == 0)
                print(f"       {name:20s}{shares[:, label].mean():7.1%} of the pixels, none in {missing} photos")
    if options.sheet:
        pictures.write(options.sheet, pictures.grid(shown[: options.sheet_count], 6))
        print(f"contact sheet: {options.sheet}")
    print(
        "All is well. Next: python -m keras_models.train extremec3 "
        f"--dataset {options.dataset} --data-dir {options.data_dir}"
    )
    return 0


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _tile(image: np.ndarray, labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    return pictures.fit(pictures.overlay(image, labels, colors), (160, 160))
