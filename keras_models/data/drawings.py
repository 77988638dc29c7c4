"""Drawn portraits with exact masks, so that every command works on a machine without any data.

They teach a network shapes, not people: a network trained on them is a smoke test of the road, not a product.
"""

from __future__ import annotations

import cv2
import numpy as np

SIZE = (320, 240)  # height, width

SKIN = ((255, 219, 172), (241, 194, 125), (224, 172, 105), (198, 134, 66), (141, 85, 36), (94, 58, 32))
HAIR = ((20, 16, 14), (60, 40, 26), (106, 78, 46), (176, 134, 72), (150, 62, 32), (186, 186, 190), (230, 208, 150))


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Portrait number `seed`: RGB uint8 (320, 240, 3) and labels uint8 (320, 240), 1 for the person."""
    rng = np.random.default_rng((20190810, seed))
    image = _background(rng)
    person = np.zeros(SIZE, np.uint8)
    _person(image, person, rng)
    image = image.astype(np.float32) * _light(rng) + rng.normal(0, rng.uniform(1, 7), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), person


def _colour(rng) -> tuple[int, ...]:
    return tuple(int(value) for value in rng.integers(10, 246, 3))


def _background(rng) -> np.ndarray:
    """A smooth texture with furniture: rectangles, discs and lines, some blurred as if out of focus."""
    height, width = SIZE
    coarse = rng.integers(0, 256, (int(rng.integers(2, 7)), int(rng.integers(2, 7)), 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(3, 14)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = (int(side) for side in rng.integers(8, 110, 2))
        kind = rng.integers(4)
        if kind == 0:
            cv2.rectangle(image, (x - w, y - h), (x + w, y + h), _colour(rng), -1)
        elif kind == 1:
            cv2.ellipse(image, (x, y), (w // 2, h // 2), int(rng.integers(180)), 0, 360, _colour(rng), -1, cv2.LINE_AA)
        elif kind == 2:
            end = (int(rng.integers(width)), int(rng.integers(height)))
            cv2.line(image, (x, y), end, _colour(rng), int(rng.integers(1, 12)), cv2.LINE_AA)
        else:
            color = SKIN[rng.integers(len(SKIN))]
            cv2.rectangle(image, (x, y), (x + w // 2, y + h), color, -1)
    blur = int(rng.integers(0, 5)) * 2 + 1
    return cv2.GaussianBlur(image, (blur, blur), 0)


def _person(image, person, rng) -> None:
    """Shoulders, neck, hair and face, drawn into the photo and the mask alike."""
    height, width = SIZE
    face_width = width * rng.uniform(0.14, 0.22)
    face_height = face_width * rng.uniform(1.2, 1.5)
    x, y = width * rng.uniform(0.36, 0.64), height * rng.uniform(0.3, 0.46)
    skin, hair, cloth = SKIN[rng.integers(len(SKIN))], HAIR[rng.integers(len(HAIR))], _colour(rng)
    tilt = rng.uniform(-14, 14)

    def fill(points, color):
        points = np.round(np.asarray(points) * 16).astype(np.int32)
        cv2.fillPoly(image, [points], color, cv2.LINE_AA, 4)
        cv2.fillPoly(person, [points], 1, cv2.LINE_8, 4)

    def ellipse(cx, cy, rx, ry, color, angle=0.0):
        t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        a = np.radians(angle)
        px, py = rx * np.cos(t), ry * np.sin(t)
        points = (cx + px * np.cos(a) - py * np.sin(a), cy + px * np.sin(a) + py * np.cos(a))
        fill(np.stack(points, 1), color)

    if rng.random() < 0.55:  # long hair, behind everything
        length = face_height * rng.uniform(1.2, 2.4)
        ellipse(x, y + length * 0.35, face_width * rng.uniform(1.25, 1.7), length, hair, tilt / 2)
    shoulder = face_width * rng.uniform(2.0, 2.9)
    top = y + face_height * rng.uniform(1.15, 1.4)
    slope = face_height * rng.uniform(0.25, 0.7)
    side = np.linspace(0, 1, 12)
    curve = top + slope * side**2
    left = np.stack([x - face_width * 0.5 - (shoulder - face_width * 0.5) * side, curve], 1)[::-1]
    right = np.stack([x + face_width * 0.5 + (shoulder - face_width * 0.5) * side, curve], 1)
    bottom = [[x + shoulder * 1.1, height + 5], [x - shoulder * 1.1, height + 5]]
    fill(np.concatenate([left, right, bottom]), cloth)
    for _ in range(rng.integers(0, 4)):  # a pattern on the clothes, inside the mask by construction
        stripe = np.zeros(SIZE, np.uint8)
        start = (int(rng.integers(width)), height)
        cv2.line(stripe, start, (int(rng.integers(width)), int(top)), 1, int(rng.integers(3, 14)))
        image[(stripe & person) > 0] = _colour(rng)
    neck = face_width * rng.uniform(0.42, 0.6)
    fill(
        [[x - neck, y], [x + neck, y], [x + neck * 1.15, top + slope * 0.3], [x - neck * 1.15, top + slope * 0.3]], skin
    )
    ellipse(x, y - face_height * 0.2, face_width * 1.14, face_height * rng.uniform(0.95, 1.12), hair, tilt)
    ellipse(x, y + face_height * 0.08, face_width * 0.97, face_height * 0.97, skin, tilt)
    dark = tuple(int(value * 0.45) for value in skin)
    for dx in (-0.4, 0.4):
        ellipse(
            x + dx * face_width, y - face_height * 0.05, face_width * 0.13, face_height * 0.06, (245, 245, 245), tilt
        )
        ellipse(x + dx * face_width, y - face_height * 0.05, face_width * 0.06, face_height * 0.06, (30, 24, 20), tilt)
    ellipse(x, y + face_height * 0.28, face_width * 0.08, face_height * 0.12, dark, tilt)
    ellipse(x, y + face_height * 0.58, face_width * 0.32, face_height * 0.06, (150, 50, 60), tilt)


def _light(rng) -> np.ndarray:
    """A gentle gradient of brightness across the photo, (height, width, 1)."""
    height, width = SIZE
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1 + rng.uniform(0, 0.3) * (x * np.cos(angle) + y * np.sin(angle)))[..., None].astype(np.float32)
