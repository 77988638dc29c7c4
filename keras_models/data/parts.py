"""Body parts from clothing labels: the 4 + 1 classes of Improved DeepLabv3+ (section 4.1) out of CCP's 59.

The paper merges the labels of ATR into background, head, upper body, hands and lower body and does not say how. CCP
has the same kind of labels with one difficulty: `skin` is face, arms and legs alike, so it is told apart by place.
"""

from __future__ import annotations

import cv2
import numpy as np

from keras_models.data.images import VOID

PARTS = ("background", "head", "upper body", "hands", "lower body")
BACKGROUND, HEAD, UPPER, HANDS, LOWER = range(5)

# CCP's labels, in the order of its label_list.mat.
_LISTED = """
    null accessories bag belt blazer blouse bodysuit boots bra bracelet cape cardigan clogs coat dress earrings flats
    glasses gloves hair hat heels hoodie intimate jacket jeans jumper leggings loafers necklace panties pants pumps
    purse ring romper sandals scarf shirt shoes shorts skin skirt sneakers socks stockings suit sunglasses sweater
    sweatshirt swimwear t-shirt tie tights top vest wallet watch wedges
"""
LABELS = tuple(_LISTED.split())

_HEAD = ("hair", "hat", "glasses", "sunglasses", "earrings")
_HANDS = ("gloves", "bracelet", "ring", "watch")
_LOWER = (
    *("belt", "jeans", "leggings", "panties", "pants", "shorts", "skirt", "socks", "stockings", "tights"),
    *("boots", "clogs", "flats", "heels", "loafers", "pumps", "sandals", "shoes", "sneakers", "wedges"),
)
_BOTH = ("dress", "romper", "bodysuit", "suit", "intimate", "swimwear")  # from the shoulders past the waist
_CARRIED = ("accessories", "bag", "purse", "wallet")  # no part of the body: void

_PART = np.full(len(LABELS), UPPER, np.uint8)
for _part, _names in ((BACKGROUND, ("null",)), (HEAD, _HEAD), (HANDS, _HANDS), (LOWER, _LOWER), (VOID, _CARRIED)):
    _PART[[LABELS.index(name) for name in _names]] = _part

# Heights as shares of the person's, from the crown of the head: a standing adult measures seven to eight heads.
_CHIN, _WAIST, _THIGH = 0.19, 0.45, 0.57


def body_parts(labels: np.ndarray) -> np.ndarray:
    """Parts uint8 (height, width), 255 for bags and other things carried, of CCP labels 0-58 (height, width).

    Skin above the chin is head; of the rest, a connected piece is hands (arms and hands) when its middle lies above the
    thighs, and lower body below. A garment that crosses the waist is divided there: where the belt or the trousers
    begin, if there are any.
    """
    parts = _PART[np.minimum(labels, len(LABELS) - 1)]
    rows = np.flatnonzero((labels > 0).any(axis=1))
    if not rows.size:
        return parts
    top, height = rows[0], rows[-1] - rows[0] + 1
    head = np.flatnonzero(_is(labels, _HEAD).any(axis=1))
    chin = top + _CHIN * height if not head.size else min(max(head[0], top) + _CHIN * height, top + 0.3 * height)
    row = np.arange(labels.shape[0])[:, None]

    below = np.flatnonzero((parts == LOWER).sum(axis=1) > 0.02 * labels.shape[1])
    waist = top + _WAIST * height
    if below.size:
        waist = np.clip(below[0], top + 0.35 * height, top + 0.55 * height)
    both = _is(labels, _BOTH)
    parts[both & (row >= waist)] = LOWER

    skin = labels == LABELS.index("skin")
    parts[skin & (row < chin)] = HEAD
    count, pieces, _, centers = cv2.connectedComponentsWithStats((skin & (row >= chin)).astype(np.uint8))
    for piece in range(1, count):
        parts[pieces == piece] = HANDS if centers[piece][1] < top + _THIGH * height else LOWER
    return parts


def _is(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return np.isin(labels, [LABELS.index(name) for name in names])
