"""People of one photo pasted into another: scenes that nobody had to photograph."""

from __future__ import annotations

import cv2
import numpy as np

from keras_models.data.images import VOID


def paste(
    image: np.ndarray, labels: np.ndarray, other: np.ndarray, other_labels: np.ndarray, softness: float
) -> tuple[np.ndarray, np.ndarray]:
    """The foreground of `other` on top of `image`, both RGB uint8 (height, width, 3) with labels uint8 (height, width).

    `softness` is the standard deviation in pixels by which the pasted edge is blurred. Void pixels of `other` that
    touch its foreground stay void, so that nobody learns from an edge whose place is unknown.
    """
    foreground = (other_labels > 0) & (other_labels != VOID)
    if not foreground.any():
        return image, labels
    alpha = foreground.astype(np.float32)
    if softness:
        alpha = cv2.GaussianBlur(alpha, (0, 0), softness)
    alpha = alpha[..., None]
    blended = (other * alpha + image * (1 - alpha) + 0.5).astype(np.uint8)
    void = other_labels == VOID
    if void.any():
        void &= cv2.dilate(foreground.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    return blended, np.where(foreground | void, other_labels, labels)
