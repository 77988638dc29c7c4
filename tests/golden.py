"""Golden vectors that app and page are tested against: what their two golden.py share."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from keras_models import command, data
from keras_models.smoothing import Smoothing

SHARE = 0.8


def write(arrays: dict[str, np.ndarray], folder: Path) -> None:
    """One little-endian file NAME.bin for each array; golden.json beside them holds types and shapes."""
    index = {}
    for name, array in arrays.items():
        path = folder / f"{name}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.ascontiguousarray(array)
        array.astype(array.dtype.newbyteorder("<")).tofile(path)
        index[name] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    command.write_text(folder / "golden.json", json.dumps(index, indent=1))
    print(f"wrote {len(index)} golden vectors into {folder}")


def picture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth picture with noise and a hard edge, RGB uint8."""
    y, x = np.mgrid[0:height, 0:width]
    wave = 128 + 90 * np.sin(x / 5)[..., None] * np.cos(y[..., None] / (4 + np.arange(3)))
    image = np.where((x > width * 0.6)[..., None], 255 - wave, wave) + random.normal(0, 6, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def video(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Masks of a video and what `Smoothing(0.8)` makes of them: noise at first, then a part of the picture moves.

    `pictures` uint8 (5, 41, 151, 3), `frames` and `calm` float32 (5, 41, 151); 151 pixels make a window of 5.
    """
    still = picture(random, 41, 151)
    pictures = np.stack([still] * 5).astype(np.int16)
    pictures[3:, :, 40:100] = np.roll(pictures[3:, :, 40:100], 7, axis=2)
    pictures = np.clip(pictures + random.normal(0, 4, pictures.shape), 0, 255).astype(np.uint8)
    frames = np.stack([cv2.blur(random.random((41, 151), np.float32), (5, 5)) for _ in pictures])
    smoothing = Smoothing(SHARE)
    calm = [smoothing(frame, shown) for frame, shown in zip(frames, pictures, strict=True)]
    return {"pictures": pictures, "frames": frames, "calm": np.stack(calm).astype(np.float32)}


def wire() -> np.ndarray:
    """uint8 (40, 60): a ring, and a wire of more pixels with a small eye that encloses less."""
    mask = np.zeros((40, 60), np.uint8)
    mask[8:20, 8:20] = 1
    mask[10:18, 10:18] = 0
    mask[2, 2:57] = mask[2:38, 57] = mask[38, 2:58] = 1
    mask[24:29, 53:58] = 1
    mask[26, 55] = 0
    return mask


def grey(image: np.ndarray) -> np.ndarray:
    """BT.601 luma, 0-1."""
    return image.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]) / np.float32(255)


def fast_guided_filter(small: np.ndarray, large: np.ndarray, mask: np.ndarray, radius: int) -> np.ndarray:
    """`masks.guided_filter` with its lines fitted at the mask's size (He and Sun, 2015), as app and page do it."""

    def mean(plane):
        return cv2.blur(plane, (2 * radius + 1, 2 * radius + 1))

    guide = grey(small)
    slope = (mean(guide * mask) - mean(guide) * mean(mask)) / (mean(guide * guide) - mean(guide) ** 2 + 1e-3)
    offset = mean(mean(mask) - slope * mean(guide))
    slope, offset = (data.prepare_image(plane, large.shape[:2]) for plane in (mean(slope), offset))
    return np.clip(slope * grey(large) + offset, 0, 1)
