"""Pictures for people who would rather look than read: overlays, contact sheets, written whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from keras_models import command
from keras_models.command import UserError


def palette(classes: int) -> np.ndarray:
    """A distinct RGB colour for each of up to 256 classes, uint8 (256, 3); class 0 is black (Pascal VOC's palette)."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    colors[1] = (40, 200, 90) if classes <= 2 else colors[1]
    return colors


def class_colors(dataset) -> np.ndarray:
    """RGB uint8 (256, 3) of a dataset's classes: its own colours, or `palette`'s."""
    colors = palette(len(dataset.class_names))
    if dataset.colors:
        colors[: len(dataset.colors)] = dataset.colors
    return colors


def overlay(
    image: np.ndarray, labels: np.ndarray, colors: np.ndarray | None = None, opacity: float = 0.5
) -> np.ndarray:
    """RGB uint8 `image` (height, width, 3) with its labels tinted; classes of black colour and 255 (void) are left.

    `colors` is RGB uint8 (256, 3), by default those of background and person.
    """
    colors = palette(2) if colors is None else colors
    tinted = cv2.addWeighted(image, 1 - opacity, colors[labels], opacity, 0)
    shown = (labels < 255) & colors.any(axis=1)[labels]
    return np.where(shown[..., None], tinted, image)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """RGB uint8 `image` scaled into a tile of `size` (height, width) with its aspect ratio kept, on white."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    tile = np.full((*size, 3), 255, np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=interpolation)
    return tile


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """RGB uint8 `image` with a line of text below it, smaller where it would not fit."""
    line = np.full((20, image.shape[1], 3), 255, np.uint8)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    size *= min(1, (image.shape[1] - 8) / max(1, cv2.getTextSize(text, font, size, 1)[0][0]))
    cv2.putText(line, text, (4, 14), font, size, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([image, line])


def grid(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """RGB uint8 tiles of one size in rows of `columns`, the last row filled up with white."""
    columns = min(columns, len(tiles))
    blank = [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    tiles = [*tiles, *blank]
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def write(path: str | Path, image: np.ndarray, colors: np.ndarray | None = None) -> None:
    """Write RGB or grey uint8 as the format of the path's suffix, whole or not at all.

    With `colors` (RGB uint8, (256, 3)) `image` holds labels, and a .png gets them as its palette.
    """
    if colors is not None and Path(path).suffix.lower() == ".png":
        labels = PIL.Image.fromarray(image)
        labels.putpalette(colors.tobytes())
        with command.whole_file(path) as temporary:
            labels.save(temporary)
        return
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    try:
        done, encoded = cv2.imencode(Path(path).suffix, bgr)
    except cv2.error:
        done = False
    if not done:
        raise UserError(f"Cannot write {path}: OpenCV knows no image format {Path(path).suffix!r}. Use .png or .jpg.")
    with command.whole_file(path) as temporary:
        encoded.tofile(temporary)
