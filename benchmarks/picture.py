"""The README's picture: one photo and what each effect makes of it.

`python -m benchmarks.picture MODEL PHOTO -o benchmarks/results/effects.jpg`
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models import command, data, pictures, predict
from keras_models.command import option

HEIGHT = 280  # pixels of each tile


@dataclass(frozen=True)
class PictureOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset, .keras or .tflite")
    photo: str = option(positional=True, metavar="PHOTO", help="the photo")
    output: str = option("benchmarks/results/effects.jpg", metavar="FILE", help="the picture")


def main(argv: list[str] | None = None) -> None:
    """Run `predict` once per effect and put the results side by side."""
    options = command.parse(
        PictureOptions,
        argv,
        program="python -m benchmarks.picture",
        description=__doc__,
        example="python -m benchmarks.picture extremec3-eg1800 photo.jpg",
    )
    tiles = [data.read_image(options.photo)]
    with tempfile.TemporaryDirectory() as folder:
        for effect in ("mask", "blur", "color"):
            result = Path(folder) / f"{effect}.png"
            predict.main([options.model, options.photo, "--effect", effect, "-o", str(result)])
            tiles.append(data.read_image(result))
    width = round(HEIGHT * tiles[0].shape[1] / tiles[0].shape[0])
    pictures.write(options.output, np.hstack([data.prepare_image(tile, (HEIGHT, width)) for tile in tiles]))


if __name__ == "__main__":
    command.run(main)
