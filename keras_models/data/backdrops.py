"""Plain and defocused backgrounds for people to be pasted onto, as studios and portrait lenses make them.

Half of OUT's pictures are walls: one colour or two that meet, lighter towards one side, darker in the corners. The
other half are the photos of --photos, which must show nobody, out of focus; without --photos all are walls. OUT is a
folder for a mix's `dataset = "background"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keras_models import command, pictures
from keras_models.command import option
from keras_models.data import light
from keras_models.data.images import IMAGE_SUFFIXES, read_image
from keras_models.data.listing import by_stem

SIDE = 256  # of the written pictures
GRAIN = 4.0  # largest standard deviation of a wall's noise, in grey values


@dataclass(frozen=True)
class BackdropsOptions:
    """The command's flags."""

    output: str = option(metavar="OUT", help="folder to write")
    photos: str | None = option(None, metavar="DIR", help="photos without people, to be shown out of focus")
    count: int = option(200, least=1, help="pictures to make")
    seed: int = option(0, least=0, help="another seed makes others")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for a folder without photos and for an OUT that is there already."""
    options = command.parse(
        BackdropsOptions,
        argv,
        program="python -m keras_models.data backdrops",
        description=__doc__,
        example="python -m keras_models.data backdrops --photos landscapes -o backdrops",
    )
    photos = list(by_stem(Path(options.photos), IMAGE_SUFFIXES).values()) if options.photos else []
    show, tiles = command.progress("making backdrops"), []
    with command.whole_folder(options.output) as output:
        for number in range(options.count):
            rng = np.random.default_rng((options.seed, number))
            photo = photos[number // 2 % len(photos)] if photos and number % 2 else None
            made = defocused(read_image(photo), rng) if photo else wall(rng)
            pictures.write(output / "images" / f"backdrop_{number:04d}.jpg", made)
            if len(tiles) < 32:
                tiles.append(pictures.fit(made, (128, 128)))
            show(number + 1, options.count)
        pictures.write(output / "contact_sheet.jpg", pictures.grid(tiles, 8))
    print(f"{options.count} backdrops; contact sheet: {Path(options.output) / 'contact_sheet.jpg'}")
    return 0


def wall(rng: np.random.Generator) -> np.ndarray:
    """RGB uint8 (SIDE, SIDE, 3): a wall in one colour, or in two that meet along a line."""
    first, second = _colour(rng), _colour(rng)
    image = np.tile(first, (SIDE, SIDE, 1))
    if rng.random() < 0.4:
        rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
        angle, place = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4)
        beyond = np.sin(angle) * rows + np.cos(angle) * columns > place
        image[beyond] = second
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 0.15 * SIDE))
    image = light.shade(
        image, rng.uniform(0.3, 1), rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8), rng.uniform(0.3, 1)
    )
    image = image * _vignette(rng)
    image += rng.normal(0, rng.uniform(0, GRAIN), image.shape)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def defocused(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """RGB uint8 (SIDE, SIDE, 3): a random part of the photo, out of focus as behind a portrait."""
    side = max(1, int(min(image.shape[:2]) * rng.uniform(0.4, 1)))
    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
    part = cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(part, (0, 0), SIDE * np.exp(rng.uniform(*np.log((0.01, 0.06)))))


def _colour(rng: np.random.Generator) -> np.ndarray:
    """RGB uint8 (3,): of any lightness, mostly pale."""
    hsv = np.array([[[rng.uniform(0, 360), rng.beta(1, 3), rng.uniform(0, 1)]]], np.float32)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255).astype(np.uint8)


def _vignette(rng: np.random.Generator) -> np.ndarray:
    """float64 (SIDE, SIDE, 1): the light that reaches each pixel, 1 in the middle."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    return (1 - rng.uniform(0, 1) * (rows**2 + columns**2))[..., None]
