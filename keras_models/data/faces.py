"""Where the faces of people are whose masks exist, by OpenCV's Haar cascades or by a detector of your own.

A detector is a function of a photo, RGB uint8 (height, width, 3), that gives its faces as rows of left, top, width,
height (pixels) and a score that is higher for a surer face: float (faces, 5).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from keras_models.command import UserError

Detector = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Haar:
    """A cascade of OpenCV's as a detector. More `neighbours`: fewer faces that are none. Smaller `step`: more faces.

    Faces are sought in photos of at most `longer_side` pixels; a smaller one than 24 pixels there is not found.
    """

    name: str
    step: float
    neighbours: int
    longer_side: int = 960
    own: threading.local = field(default_factory=threading.local)  # a cascade serves one thread at a time

    @property
    def path(self) -> Path:
        folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
        return Path(folder) / f"haarcascade_{self.name}.xml"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        scale = min(1.0, self.longer_side / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = self._find(grey)
        if "profile" in self.name:  # it knows those that look to the left alone
            mirrored = self._find(cv2.flip(grey, 1))
            mirrored[:, 0] = grey.shape[1] - mirrored[:, 0] - mirrored[:, 2]
            found = np.concatenate([found, mirrored])
        return found / [scale, scale, scale, scale, 1]

    def _find(self, grey: np.ndarray) -> np.ndarray:
        if not hasattr(self.own, "cascade"):
            self.own.cascade = cv2.CascadeClassifier(str(self.path))
        boxes, _, scores = self.own.cascade.detectMultiScale3(
            grey, self.step, self.neighbours, minSize=(24, 24), outputRejectLevels=True
        )
        return np.column_stack([boxes, np.ravel(scores)]).astype(float) if len(boxes) else np.zeros((0, 5))


# Detectors to try in turn until one finds a face on a person: those after the first find more faces, and more that are
# none, of which `on_person` leaves few.
DETECTORS = {
    "haar": (
        Haar("frontalface_alt2", 1.1, 3),
        Haar("frontalface_alt2", 1.05, 2),
        Haar("frontalface_default", 1.05, 3),
        Haar("profileface", 1.05, 3),
    ),
    "haar-frontal": (Haar("frontalface_alt2", 1.1, 3, longer_side=480),),  # quick, for people near the camera
}


def detectors(name: str) -> tuple[Detector, ...]:
    """Those of a name in `DETECTORS`, or your own, `package.module:function`. UserError for any other."""
    if name in DETECTORS:
        missing = [str(each.path) for each in DETECTORS[name] if not each.path.is_file()]
        if missing:
            raise UserError(
                f"OpenCV {cv2.__version__} comes without {missing[0]}; pip install 'opencv-python-headless<5' has it. "
                "Or name another detector as package.module:function."
            )
        return DETECTORS[name]
    if ":" not in name:
        raise UserError(
            f"Unknown face detector. Valid names: {', '.join(DETECTORS)}, or your own as package.module:function. "
            f"Received: {name!r}"
        )
    from keras_models import registry

    try:
        return (registry.from_outside(name),)
    except ValueError as error:
        raise UserError(f"There is no face detector {name!r}: {error}") from error


def find(those: tuple[Detector, ...], image: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """The faces on people by the labels (height, width) of RGB uint8 `image`, the surest first.

    Only the frame around all foreground is searched, and only by the first of the detectors that finds any.
    """
    rows, columns = (np.flatnonzero(_foreground(labels).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return []
    margin = (rows[-1] - rows[0]) // 10  # a face at the edge needs what surrounds it
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    part = np.ascontiguousarray(image[top : rows[-1] + margin, left : columns[-1] + margin])
    for detect in those:
        faces = np.add(detect(part), [left, top, 0, 0, 0])
        faces = [face for face in sorted(faces, key=lambda face: -face[4]) if on_person(face, labels)]
        if faces:
            return faces
    return []


def on_person(face: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a face (left, top, width, height, ...) is one by the labels (height, width) of its photo.

    Most of its middle is foreground, and little more than its height of foreground lies above it: hair or a hat. What a
    cascade takes for a face on a coat or on a wall is none.
    """
    left, top, width, height = face[:4]
    columns = _foreground(labels)[:, max(0, round(left + width / 4)) : round(left + width * 3 / 4)]
    middle = columns[max(0, round(top + height / 4)) : round(top + height * 3 / 4)]
    if not middle.size or middle.mean() < 0.6:
        return False
    return bool(top - np.flatnonzero(columns.any(axis=1))[0] <= 1.2 * height)


def _foreground(labels: np.ndarray) -> np.ndarray:
    return (labels > 0) & (labels < 255)


def portrait_box(
    face: np.ndarray, size: tuple[int, int], widths: float = 3.5, heights: float = 3.7, above: float = 0.9
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of head and shoulders, within a photo of `size` (height, width).

    The box is `widths` of the face's width and `heights` of its height, `above` of these above the face.
    """
    left, top, width, height = face[:4]
    middle, start = left + width / 2, top - above * height
    box = (middle - widths * width / 2, start, middle + widths * width / 2, start + heights * height)
    limits = (size[1], size[0], size[1], size[0])
    return tuple(round(min(max(0.0, side), limit)) for side, limit in zip(box, limits, strict=True))
