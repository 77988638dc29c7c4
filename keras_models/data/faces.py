"""Where the faces are, by OpenCV's Haar cascades or by a detector of your own, and the portrait around a face.

A detector is a function of a photo, RGB uint8 (height, width, 3), that gives its faces as rows of left, top, width,
height (pixels) and a score that is higher for a surer face: float (faces, 5).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from keras_models.command import UserError

Detector = Callable[[np.ndarray], np.ndarray]

# The profile cascade knows faces that look to the left alone; it is run on the mirrored photo too.
CASCADES = {
    "haar": ("haarcascade_frontalface_alt2", "haarcascade_profileface"),
    "haar-frontal": ("haarcascade_frontalface_alt2",),
    "haar-default": ("haarcascade_frontalface_default",),
}


def detector(name: str) -> Detector:
    """A detector by name: one of `CASCADES`, or `package.module:function`. UserError says what is wrong with others."""
    if name in CASCADES:
        return _haar(CASCADES[name])
    module, colon, function = name.partition(":")
    if not colon:
        raise UserError(
            f"Unknown face detector. Valid names: {', '.join(CASCADES)}, or your own as package.module:function. "
            f"Received: {name!r}"
        )
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"There is no face detector {name!r}: {error}.") from error


def _haar(names: tuple[str, ...], longer_side: int = 480) -> Detector:
    """The faces that the first cascade finds; where it finds none, those of the next. They are sought in the photo
    scaled to `longer_side`, where the smallest face that a cascade knows is a twenty-fourth of it."""
    folder = getattr(getattr(cv2, "data", None), "haarcascades", "")
    paths = [Path(folder) / f"{name}.xml" for name in names]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"OpenCV {cv2.__version__} comes without {', '.join(missing)}; pip install 'opencv-python-headless<5' has "
            "it. Or name another detector as package.module:function."
        )
    own = threading.local()  # a cascade serves one thread at a time

    def detect(image: np.ndarray) -> np.ndarray:
        if not hasattr(own, "cascades"):
            own.cascades = [cv2.CascadeClassifier(str(path)) for path in paths]
        scale = min(1.0, longer_side / max(image.shape[:2]))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for path, cascade in zip(paths, own.cascades, strict=True):
            faces = _found(cascade, grey)
            if "profile" in path.stem:
                mirrored = _found(cascade, cv2.flip(grey, 1))
                mirrored[:, 0] = grey.shape[1] - mirrored[:, 0] - mirrored[:, 2]
                faces = np.concatenate([faces, mirrored])
            if len(faces):
                return faces / [scale, scale, scale, scale, 1]
        return np.zeros((0, 5))

    return detect


def _found(cascade: cv2.CascadeClassifier, grey: np.ndarray) -> np.ndarray:
    boxes, _, scores = cascade.detectMultiScale3(grey, 1.1, 4, minSize=(20, 20), outputRejectLevels=True)
    return np.column_stack([boxes, np.ravel(scores)]).astype(float) if len(boxes) else np.zeros((0, 5))


def on_person(face: np.ndarray, labels: np.ndarray, least: float = 0.7) -> bool:
    """Whether `least` of the middle of a face (left, top, width, height, ...) is foreground in its photo's labels."""
    left, top, width, height = face[:4]
    rows = slice(round(top + height / 4), round(top + height * 3 / 4))
    middle = labels[rows, round(left + width / 4) : round(left + width * 3 / 4)]
    return middle.size > 0 and np.mean((middle > 0) & (middle < 255)) >= least


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
