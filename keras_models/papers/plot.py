"""Accuracy against parameters on EG1800, as figure 1 of ExtremeC3Net: the papers' figures and those measured here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keras_models import registry
from keras_models.command import UserError
from keras_models.papers.tables import FOREGROUND_IOU, TABLES, UNITS

PUBLISHED, MEASURED = (150, 150, 150), (214, 72, 24)  # RGB
TEXT, GRID = (60, 60, 60), (228, 228, 228)
SIZE = (640, 960)  # height, width
LEFT, RIGHT, TOP, BOTTOM = 70, 40, 50, 70  # margins
FONT, SMALL = cv2.FONT_HERSHEY_SIMPLEX, 0.42


@dataclass(frozen=True)
class Point:
    """A network: its parameters and its foreground IoU per image, a fraction of 1."""

    title: str
    parameters: float
    foreground_iou: float
    measured: bool


def published() -> list[Point]:
    """The rows of the papers' EG1800 tables that print parameters, each figure once."""
    points = {}
    for row in (row for table in TABLES if table.accuracy == FOREGROUND_IOU for row in table.rows if row.parameters):
        misprint = "parameters" in row.misprints
        parameters = registry.network(row.network).parameters if misprint else number(row.parameters)
        title = {"Ours": "EOAM"}.get(row.method, re.sub("^[A-Z] ", "", row.method))  # the poster numbers by letters
        points.setdefault((row.network, row.accuracy), Point(title, parameters, float(row.accuracy) / 100, False))
    return list(points.values())


def number(printed: str) -> float:
    """A figure as the papers print it, such as 37.7K."""
    digits = printed.rstrip("".join(UNITS))
    return float(digits) * UNITS[printed[len(digits) :]]


def measured(folder: str) -> list[Point]:
    """What the JSON files of `benchmarks.accuracy` under `folder` say of EG1800; UserError when there is none."""
    points = []
    for path in sorted(Path(folder).rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and str(content.get("data", "")).startswith("eg1800") and "parameters" in content:
            points.append(Point(content["title"], content["parameters"], content["foreground_iou"], True))
    if not points:
        raise UserError(
            f"No accuracy measured on EG1800 under {folder}. Make one: python -m benchmarks.accuracy MODEL --dataset "
            "eg1800 --data-dir DIR"
        )
    return points


def draw(points: list[Point]) -> np.ndarray:
    """RGB uint8. The axis of the IoU begins below the published figures; what lies below stands on it as a triangle."""
    height, width = SIZE
    image = np.full((height, width, 3), 255, np.uint8)
    x = np.log10([point.parameters for point in points])
    y = 100 * np.array([point.foreground_iou for point in points])
    x_low, x_high = np.floor(x.min() * 2) / 2, np.ceil(x.max() * 2) / 2
    y_low = np.floor(min([v for v, point in zip(y, points, strict=True) if not point.measured], default=y.min())) - 0.5
    y_high = np.ceil(y.max()) + 0.5

    def at(log_parameters: float, iou: float) -> tuple[int, int]:
        across = (log_parameters - x_low) / (x_high - x_low)
        up = (max(iou, y_low) - y_low) / (y_high - y_low)
        return round(LEFT + across * (width - LEFT - RIGHT)), round(height - BOTTOM - up * (height - TOP - BOTTOM))

    _axes(image, at, (x_low, x_high), (y_low, y_high))
    places = [at(*values) for values in zip(x, y, strict=True)]
    taken = [(a - 7, b - 7, a + 7, b + 7) for a, b in places]
    for point, place, iou in sorted(zip(points, places, y, strict=True), key=_label_order):
        _mark(image, place, point.measured, below=iou < y_low)
        text = f"{point.title} {iou:.2f}"
        box = free_box(text, place, taken)
        taken.append(box)
        middle = (int(np.clip(place[0], box[0], box[2])), int(np.clip(place[1], box[1], box[3])))
        if np.hypot(middle[0] - place[0], middle[1] - place[1]) > 14:
            cv2.line(image, place, middle, PUBLISHED, 1, cv2.LINE_AA)
            _mark(image, place, point.measured, below=iou < y_low)
        cv2.putText(
            image, text, (box[0], box[3] - 3), FONT, SMALL, MEASURED if point.measured else TEXT, 1, cv2.LINE_AA
        )
    return image


def _label_order(each) -> tuple[bool, bool, int]:
    """Who chooses a place first: what is measured; the longest labels come last, the others from top to bottom."""
    point, (_, row), _ = each
    return not point.measured, len(point.title) > 20, row


def _axes(image, at, across, up) -> None:
    """Frame, grid, ticks, titles and the key."""
    height, width = image.shape[:2]
    marks = {10**e * m: f"{10 ** (e % 3) * m} {'_KM'[e // 3]}" for e in (4, 5, 6, 7) for m in (1, 3)}
    for value, text in marks.items():
        if across[0] <= np.log10(value) <= across[1]:
            column, row = at(np.log10(value), up[0])
            cv2.line(image, (column, TOP), (column, row), GRID, 1)
            cv2.putText(image, text, (column - 16, row + 20), FONT, SMALL, TEXT, 1, cv2.LINE_AA)
    for iou in range(int(np.ceil(up[0])), int(up[1]) + 1):
        column, row = at(across[0], iou)
        cv2.line(image, (column, row), (width - RIGHT, row), GRID, 1)
        cv2.putText(image, str(iou), (column - 26, row + 5), FONT, SMALL, TEXT, 1, cv2.LINE_AA)
    cv2.rectangle(image, (LEFT, TOP), (width - RIGHT, height - BOTTOM), PUBLISHED, 1)
    for text, place in (
        ("parameters", (width // 2 - 40, height - 22)),
        ("foreground IoU per image on EG1800's test photos, %", (LEFT, 22)),
    ):
        cv2.putText(image, text, place, FONT, 0.5, TEXT, 1, cv2.LINE_AA)
    for i, (text, is_measured) in enumerate((("printed in the papers", False), ("measured here", True))):
        _mark(image, (LEFT + 8 + 180 * i, 38), is_measured)
        colour = MEASURED if is_measured else TEXT
        cv2.putText(image, text, (LEFT + 20 + 180 * i, 42), FONT, SMALL, colour, 1, cv2.LINE_AA)


def _mark(image, place, is_measured: bool, *, below: bool = False) -> None:
    """A disc, grey and hollow for what is printed; a triangle for what lies below the axis."""
    if below:
        corners = np.array([(-7, -10), (7, -10), (0, 0)]) + place
        cv2.fillPoly(image, [corners.astype(np.int32)], MEASURED, cv2.LINE_AA)
    elif is_measured:
        cv2.circle(image, place, 7, MEASURED, -1, cv2.LINE_AA)
    else:
        cv2.circle(image, place, 5, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(image, place, 5, PUBLISHED, 2, cv2.LINE_AA)


def free_box(text: str, place, taken) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) for a text near `place` that covers nothing of `taken`: right of it if possible."""
    (wide, high), _ = cv2.getTextSize(text, FONT, SMALL, 1)
    high += 6
    x, y = place
    height, width = SIZE
    for distance in range(11, 160, 6):
        for left, top in (
            (x + distance, y - high // 2),
            (x - distance - wide, y - high // 2),
            (x - wide // 2, y - distance - high),
            (x - wide // 2, y + distance),
            (x + distance, y - distance - high // 2),
            (x + distance, y + distance - high // 2),
            (x - distance - wide, y - distance - high // 2),
            (x - distance - wide, y + distance - high // 2),
        ):
            box = (left, top, left + wide, top + high)
            inside = left > LEFT and box[2] < width - RIGHT and top > TOP and box[3] < height - BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                return box
    return (x + 11, y - high // 2, x + 11 + wide, y + high // 2)


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
