"""Photos that are alike by a perceptual hash, and masks that lie beside what they show."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse

# At most as far apart: of 127 bits, and in grey levels of 255 on average and anywhere.
SAME, SIMILAR = (6, 3, 16), (16, 14, 255)


@dataclass(frozen=True)
class Code:
    """127 bits of a photo's coarse structure, and the photo at 16x16."""

    bits: np.ndarray
    tiny: np.ndarray


def code(image: np.ndarray) -> Code:
    """The code of RGB uint8: dHash's 64 signs of neighbours' differences and pHash's 63 of low frequencies."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    rows = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8].ravel()[1:]
    bits = np.concatenate([(rows[:, 1:] > rows[:, :-1]).ravel(), low > np.median(low)])
    return Code(bits, cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA))


def groups(codes: list[Code], same: bool) -> list[list[int]]:
    """Indices of photos that are the `same`, but for scale and compression, or else nearly so; two at least."""
    most_bits, mean_grey, most_grey = SAME if same else SIMILAR
    signs = np.array([each.bits for each in codes], np.float32).reshape(len(codes), -1) * 2 - 1
    pairs = []
    for first in range(0, len(codes), 1024):
        apart = (signs.shape[1] - signs[first : first + 1024] @ signs.T) / 2
        rows, columns = np.nonzero(apart <= most_bits)
        pairs += [(r + first, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if r + first < c]
    close = []
    for a, b in pairs:
        apart = np.abs(codes[a].tiny.astype(np.int16) - codes[b].tiny)
        if apart.mean() <= mean_grey and apart.max() <= most_grey:
            close.append((a, b))
    graph = scipy.sparse.coo_array(
        (np.ones(len(close)), tuple(np.array(close, int).reshape(-1, 2).T)), shape=(len(codes), len(codes))
    )
    _, members = scipy.sparse.csgraph.connected_components(graph, directed=False)
    found: dict[int, list[int]] = {}
    for index in sorted({i for pair in close for i in pair}):
        found.setdefault(int(members[index]), []).append(index)
    return list(found.values())


def is_grey(image: np.ndarray) -> bool:
    """Whether RGB uint8 has no colour anywhere."""
    few = image[:: max(1, len(image) // 32), :: max(1, image.shape[1] // 32)].astype(np.int16)
    return int(np.abs(few - few[..., :1]).max()) <= 2


def fits(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """How well the outline of `mask` (float 0-1, square) lies on the edges of RGB uint8 at its place and around.

    (2r + 1, 2r + 1) mean edge strengths under the outline, its own place in the middle, in standard deviations over
    all places; None for an outline that is too short.
    """
    side = len(mask)
    small = cv2.GaussianBlur(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), (3, 3), 0)
    across, down = (cv2.Sobel(small, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    strength = np.sqrt(across**2 + down**2).max(axis=2)
    strength = strength / (strength + np.median(strength) + 8)
    inside = (mask > 0.5).astype(np.uint8)
    outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(np.float32)
    for edges in (strength, outline):  # the photo's border is no edge
        edges[[0, -1]] = edges[:, [0, -1]] = 0
    if outline.sum() < side / 2:
        return None
    spectrum = np.fft.rfft2(strength - strength.mean()) * np.conj(np.fft.rfft2(outline))
    everywhere = np.fft.irfft2(spectrum, strength.shape)
    if everywhere.std() < 1e-6:
        return None
    reach = side // 5
    around = np.roll(everywhere / everywhere.std(), (reach, reach), (0, 1))
    return around[: 2 * reach + 1, : 2 * reach + 1].astype(np.float32)


def looks_shifted(fitting: np.ndarray | None) -> bool:
    """Whether an outline fits far better beside its place, by its `fits`.

    One of 757 sound masks of six sets looked so, and of the same moved by a tenth a quarter (crowds) to nine tenths.
    """
    if fitting is None:
        return False
    distance, here, best = _best(fitting)
    return distance >= 4 and best > 3 and here < min(2, 1.5 * best - 4)


def shifted_alike(fittings: list[np.ndarray]) -> bool:
    """Whether the outlines of many photos fit better beside their place, all in the same direction."""
    distance, here, best = _best(np.mean(fittings, axis=0))
    return distance >= 2 and here < 0.75 * best


def _best(fitting: np.ndarray) -> tuple[float, float, float]:
    """How many pixels away the best place is, and how well the outline fits at its own place and there."""
    reach = len(fitting) // 2
    y, x = np.unravel_index(fitting.argmax(), fitting.shape)
    return float(np.hypot(y - reach, x - reach)), float(fitting[reach, reach]), float(fitting[y, x])
