"""Reading a packed dataset: `pack.json` and tar files, as `python -m keras_models.data pack` writes them.

It stands alone: numpy and Pillow are all it needs, so that a machine without TensorFlow and OpenCV trains from it. The
tar files are WebDataset's: `NAME.jpg` and `NAME.png` (labels, 255 for void) one after the other.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image


class Packed:
    """The photos of a split: `packed[i]` is RGB uint8 (height, width, 3) and labels uint8 (height, width).

    `names`, `class_names`, `colors`, `mirrored` and `shares` (how often to draw each photo, None: all alike) are those
    of the set that was packed. The files are mapped, not read, so any number of threads may ask for any photo.
    ValueError for a folder that is no packed dataset.
    """

    def __init__(self, folder: str | Path, split: str = "train"):
        folder = Path(folder)
        try:
            facts = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
            rows = facts["splits"][split]
            self._shards = [np.memmap(folder / name, np.uint8, "r") for name in facts["shards"]]
            self._places = [row["place"] for row in rows]
            self.names = tuple(row["name"] for row in rows)
            self.class_names, self.colors = tuple(facts["class_names"]), facts["colors"]
            self.mirrored = tuple(tuple(pair) for pair in facts["mirrored"])
            shares = facts.get("shares", {}).get(split)  # sets packed by earlier versions have none
            self.shares = None if shares is None else tuple(map(float, shares))
            if shares is not None and len(shares) != len(rows):
                raise ValueError(f"{len(shares)} shares of {len(rows)} photos")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{folder} is no packed dataset with a split {split}: {error!r}") from error

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        shard, *places = self._places[i]
        image, labels = (self._shards[shard][start : start + size].tobytes() for start, size in places)
        try:
            with PIL.Image.open(io.BytesIO(image)) as photo, PIL.Image.open(io.BytesIO(labels)) as mask:
                return np.asarray(photo.convert("RGB")), np.asarray(mask)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{self.names[i]} of the packed dataset is damaged: {error}. Pack it again.") from error


def splits(folder: str | Path) -> tuple[str, ...]:
    """The splits of a packed dataset. ValueError for a folder that is none."""
    try:
        return tuple(json.loads((Path(folder) / "pack.json").read_text(encoding="utf-8"))["splits"])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} is no packed dataset: {error!r}") from error
