"""Masks as people see them: from logits to probabilities, opacities with soft edges, other backgrounds."""

from __future__ import annotations

import cv2
import numpy as np

FILLS = ("all", "largest")  # in which regions of the foreground `fill_contours` fills
WINDOW = 0.01  # how far the guided filter looks for a photo's edges, of its longer side; `benchmarks.edges` compares


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (..., classes)."""
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    return exponent / exponent.sum(-1, keepdims=True)


def labels_at(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels uint8 at `size` (height, width) of probabilities (height, width, classes), resized before the choice."""
    resized = cv2.resize(probabilities.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized.argmax(axis=-1).astype(np.uint8)


def foreground(logits: np.ndarray) -> np.ndarray:
    """Probability (height, width) that a pixel is no background, from logits (height, width, classes)."""
    if logits.shape[-1] == 1:
        return 1 / (1 + np.exp(-np.clip(logits[..., 0], -30, 30)))
    return 1 - softmax(logits)[..., 0]


def fill_contours(probability: np.ndarray, threshold: float = 0.5, regions: str = "all") -> np.ndarray:
    """`probability` (height, width) with 1 where an outer contour of the foreground encloses background.

    The post-process of EOAM's poster, for portraits with something held before them. `regions`: `all`, so that a second
    person is treated as the first, or `largest`, the poster's: that whose contour encloses the most.
    """
    inside = (probability >= threshold).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if regions == "largest":
        contours = sorted(contours, key=cv2.contourArea)[-1:]
    filled = cv2.drawContours(inside.copy(), contours, -1, 1, cv2.FILLED)
    return np.where(filled > inside, 1, probability).astype(probability.dtype)


def guided_filter(guide: np.ndarray, mask: np.ndarray, radius: int, epsilon: float = 1e-3) -> np.ndarray:
    """`mask` float32 (height, width) with its edges moved to those of the grey `guide` 0-1 (He et al., 2010)."""

    def mean(x):
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))

    guide_mean, mask_mean = mean(guide), mean(mask)
    slope = (mean(guide * mask) - guide_mean * mask_mean) / (mean(guide * guide) - guide_mean**2 + epsilon)
    return np.clip(mean(slope) * guide + mean(mask_mean - slope * guide_mean), 0, 1)


def alpha(probability: np.ndarray, image: np.ndarray, refine: bool) -> np.ndarray:
    """Opacity of the person, float32 0-1 at the size of `image`, from a probability at the network's size."""
    return steep(refined(probability, image, WINDOW if refine else 0))


def refined(probability: np.ndarray, image: np.ndarray, window: float) -> np.ndarray:
    """A probability at the network's size brought to that of `image` RGB uint8, its edges moved to the photo's.

    `window` is how far the guided filter looks, as a fraction of the longer side, at least 2 pixels; 0 leaves them.
    """
    height, width = image.shape[:2]
    mask = cv2.resize(probability.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    if not window:
        return mask
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return guided_filter(guide, mask, radius=max(2, round(max(height, width) * window)))


def steep(probability: np.ndarray) -> np.ndarray:
    """A steeper curve around one half: sure pixels become opaque or clear, the edge keeps a soft step."""
    return np.clip((probability - 0.5) * 2.5 + 0.5, 0, 1)


def blend(front: np.ndarray, back: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3): `front` where the `opacity` (height, width), 0-1, is 1, `back` where it is 0."""
    opacity = opacity[..., None]
    return np.round(front * opacity + back * (1 - opacity)).astype(np.uint8)


def blurred(image: np.ndarray, opacity: np.ndarray, strength: float) -> np.ndarray:
    """The background blurred without the person's colours bleeding into it."""
    sigma = max(0.5, strength * max(image.shape[:2]))
    weight = (1 - opacity)[..., None].astype(np.float32) + 1e-3
    bright = cv2.GaussianBlur(image * weight, (0, 0), sigma)
    return np.clip(bright / cv2.GaussianBlur(weight, (0, 0), sigma)[..., None], 0, 255)


def cover(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of `picture`, scaled to fill `size` (height, width) without changing its aspect ratio."""
    scale = max(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (max(n, round(side * scale)) for n, side in zip(size, picture.shape[:2], strict=True))
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return picture[top : top + size[0], left : left + size[1]]
