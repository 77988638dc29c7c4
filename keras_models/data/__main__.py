"""Look at a dataset before training on it: `python -m keras_models.data check DIR`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models import command, data, pictures
from keras_models.command import option
from keras_models.data.datasets import SPLITS, read_all


@dataclass(frozen=True)
class CheckOptions:
    """The command's flags."""

    action: str = option(positional=True, choices=("check",), help="check: read every photo and mask, count, look")
    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    dataset: str = option("folder", choices=[n for n in data.dataset_names() if n != "drawings"], help="its kind")
    sheet: str | None = option(None, metavar="FILE.png", help="write a contact sheet of photos with their masks here")
    sheet_count: int = option(24, help="photos on the contact sheet")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError names every photo, mask or list that is broken."""
    options = command.parse(
        CheckOptions,
        argv,
        program="python -m keras_models.data",
        description=__doc__,
        example="python -m keras_models.data check photos --sheet photos.png",
    )
    found = {split: _load(options, split) for split in SPLITS}
    shown = []
    for split, dataset in found.items():
        if dataset is None:
            print(f"{split:6s} none")
            continue
        every = max(1, len(dataset) // options.sheet_count)
        tiles = read_all(dataset, lambda i, m: (_tile(i, m), i.shape, m.mean()), command.progress(dataset.title))
        shown += [tile for tile, _, _ in tiles[::every]]
        share = np.array([share for _, _, share in tiles])
        shapes = sorted({shape[:2] for _, shape, _ in tiles})
        print(
            f"{split:6s} {len(dataset)} photos, {_size(shapes[0])} to {_size(shapes[-1])}, foreground "
            f"{share.mean():.0%} of the pixels, none at all in {np.count_nonzero(share == 0)}"
        )
    if options.sheet:
        pictures.write(options.sheet, pictures.grid(shown[: options.sheet_count], 6))
        print(f"contact sheet: {options.sheet}")
    print(
        "All is well. Next: python -m keras_models.train extremec3 "
        f"--dataset {options.dataset} --data-dir {options.data_dir}"
    )
    return 0


def _load(options: CheckOptions, split: str):
    listed = any((Path(options.data_dir) / f"{other}.txt").is_file() for other in SPLITS)
    if listed and not (Path(options.data_dir) / f"{split}.txt").is_file():
        return None
    return data.load(options.dataset, options.data_dir, split)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _tile(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    size = (160, 120)
    return pictures.overlay(data.prepare_image(image, size), data.prepare_mask(labels, size))


if __name__ == "__main__":
    command.run(main)
