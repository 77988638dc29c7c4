"""Calm masks over time: what stands still in the picture keeps its mask, what moves gets the new one at once.

The network sees each frame alone, so noise moves its edges. Mixing in the previous mask calms them, but trails behind
whoever moves; the picture itself says where that is. `benchmarks.video` measures this filter against others. App and
page compute the same, by golden vectors. The spec's `smoothing` is `share`.
"""

from __future__ import annotations

import cv2
import numpy as np

SHARE = 0.8
MOTION = 6 / 255  # change of the picture's brightness from which on the new mask is taken whole


class Smoothing:
    """The smoothed masks of one video, frame by frame.

    `share`, 0 to below 1: how much of the previous mask stays where the picture is still. ValueError for another one.
    """

    def __init__(self, share: float = SHARE):
        if not 0 <= share < 1:
            raise ValueError(f"Expected a share from 0 to below 1. Received: {share}")
        self._share = share
        self._brightness: np.ndarray | None = None
        self._mask: np.ndarray | None = None

    def __call__(self, mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
        """`mask` (height, width) or (height, width, classes) calmed by the masks before it; the first as it is.

        `picture` is what the network saw, RGB uint8; it may have another size than the mask.
        """
        brightness = box_brightness(picture)
        if self._mask is not None:
            kept = self._share * np.clip(1 - np.abs(brightness - self._brightness) / MOTION, 0, 1)
            if kept.shape != mask.shape[:2]:
                kept = cv2.resize(kept, mask.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            if mask.ndim == 3:
                kept = kept[..., None]
            mask = mask + (self._mask - mask) * kept
        self._brightness, self._mask = brightness, mask
        return mask


def box_brightness(picture: np.ndarray) -> np.ndarray:
    """BT.601 luma, 0-1, float32 (height, width): means over windows of a hundredth of the longer side to each side.

    The picture is mirrored at its border, whose own pixels are not repeated (cv2.blur).
    """
    grey = picture.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]) / 255
    window = 2 * max(1, round(max(grey.shape) / 100)) + 1
    return cv2.blur(grey, (window, window))
