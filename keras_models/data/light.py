"""What a camera and its light do to a photo, in numpy and OpenCV: RGB uint8 (height, width, 3) in and out."""

from __future__ import annotations

import cv2
import numpy as np


def tone(image: np.ndarray, gamma: float, temperature: float) -> np.ndarray:
    """`gamma` above 1 darkens; `temperature` above 1 is warmer: it multiplies red, and divides blue."""
    levels = 255 * (np.arange(256) / 255) ** gamma
    table = np.clip(np.stack([levels * temperature, levels, levels / temperature], axis=-1) + 0.5, 0, 255)
    return cv2.LUT(image, table[None].astype(np.uint8))


def shade(image: np.ndarray, darkest: float, angle: float, place: float, width: float) -> np.ndarray:
    """A shadow over one side: the light falls to `darkest` across a soft line.

    The line's normal has `angle` (radians); it crosses the photo's diagonal at the fraction `place`, and the fall takes
    the fraction `width` of the diagonal.
    """
    rows, columns = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in image.shape[:2])
    across = rows[:, None] * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle)) + np.float32(0.5 - place)
    light = 1 - (1 - darkest) * np.clip(across / max(width, 1e-3) + 0.5, 0, 1)
    return (image * light[..., None]).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """The photo after a JPEG file of that quality (1 to 100)."""
    file = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return cv2.cvtColor(cv2.imdecode(file, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def motion_blur(image: np.ndarray, length: int, angle: float) -> np.ndarray:
    """A move of the camera by `length` pixels in the direction `angle` (radians)."""
    kernel = np.zeros((length, length), np.float32)
    centre, reach = (length - 1) / 2, (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(round(float(centre + sign * part)) for part in reach) for sign in (-1, 1)]
    cv2.line(kernel, *ends, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def downscale(image: np.ndarray, factor: float) -> np.ndarray:
    """The photo as a camera of `factor` times the resolution sees it, at the size it had."""
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height))
