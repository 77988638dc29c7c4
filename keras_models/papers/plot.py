"""Accuracy against parameters on EG1800, as figure 1 of ExtremeC3Net: the papers' figures and those measured here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models import registry
from keras_models.command import UserError
from keras_models.papers.tables import FOREGROUND_IOU, TABLES, UNITS

PUBLISHED, MEASURED = "#969696", "#d64818"
SIDES = [(1, 0), (-1, 0), (0, -1), (0, 1), (1, -0.6), (1, 0.6), (-1, -0.6), (-1, 0.6)]  # where a label may stand


@dataclass(frozen=True)
class Point:
    """A network: its parameters and its foreground IoU per image, a fraction of 1; `macs` where they are known."""

    title: str
    parameters: float
    foreground_iou: float
    measured: bool
    macs: float | None = None


def published() -> list[Point]:
    """The rows of the papers' EG1800 tables that print parameters, each figure once."""
    points = {}
    for row in (row for table in TABLES if table.accuracy == FOREGROUND_IOU for row in table.rows if row.parameters):
        misprint = "parameters" in row.misprints
        parameters = registry.network(row.network).parameters if misprint else number(row.parameters)
        title = {"Ours": "EOAM"}.get(row.method, re.sub("^[A-Z] ", "", row.method))  # the poster numbers by letters
        macs = number(row.macs) if row.macs else None
        points.setdefault((row.network, row.accuracy), Point(title, parameters, float(row.accuracy) / 100, False, macs))
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
            counts = content["parameters"], content["foreground_iou"], True, content.get("macs")
            points.append(Point(content["title"], *counts))
    if not points:
        raise UserError(
            f"No accuracy measured on EG1800 under {folder}. Make one: python -m benchmarks.accuracy MODEL --dataset "
            "eg1800 --data-dir DIR"
        )
    return points


def draw(points: list[Point], against: str = "parameters"):
    """A `matplotlib` figure of accuracy against `parameters` or `macs`. What lies below the published is a triangle.

    UserError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("Plots need matplotlib: pip install matplotlib") from error
    points = [point for point in points if getattr(point, against)]
    figure = Figure(figsize=(9.6, 6.4), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    printed = [100 * point.foreground_iou for point in points if not point.measured]
    low = np.floor(min(printed or [100 * point.foreground_iou for point in points])) - 0.5
    for kind, color, face, title in (
        (False, PUBLISHED, "white", "printed in the papers"),
        (True, MEASURED, MEASURED, "measured here"),
    ):
        for below in (False, True):
            shown = [p for p in points if p.measured == kind and (100 * p.foreground_iou < low) == below]
            heights = [low if below else 100 * point.foreground_iou for point in shown]
            axes.scatter(
                [getattr(point, against) for point in shown],
                heights,
                s=42,
                edgecolors=color,
                facecolors=face,
                marker="v" if below else "o",
                label=None if below else title,
                zorder=3,
                clip_on=False,
            )
    axes.set(
        xscale="log",
        xlabel={"parameters": "parameters", "macs": "multiply-accumulates"}[against],
        ylabel="foreground IoU per image, %",
        title="EG1800's test photos",
        ylim=(low, np.ceil(max(100 * point.foreground_iou for point in points)) + 0.5),
    )
    units = ((1e9, "G"), (1e6, "M"), (1e3, "K"))
    axes.xaxis.set_major_formatter(lambda x, _: next((f"{x / unit:g} {name}" for unit, name in units if x >= unit), ""))
    axes.grid(color="#e4e4e4")
    axes.legend(loc="lower right")
    canvas.draw()
    figure.set_layout_engine("none")  # the places of the labels are for these axes
    _label(axes, canvas.get_renderer(), points, low, against)
    return figure


def _label(axes, renderer, points: list[Point], low: float, against: str) -> None:
    """Write each point's name beside it, over nothing that is written already where there is room."""
    heights = [max(low, 100 * point.foreground_iou) for point in points]
    values = [getattr(point, against) for point in points]
    places = axes.transData.transform(list(zip(values, heights, strict=True)))
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for point, place in sorted(zip(points, places, strict=True), key=lambda each: not each[0].measured):
        text = axes.annotate(
            f"{point.title} {100 * point.foreground_iou:.2f}",
            (getattr(point, against), max(low, 100 * point.foreground_iou)),
            (0, 0),
            textcoords="offset pixels",
            fontsize=8,
            color=MEASURED if point.measured else "#3c3c3c",
        )
        box = text.get_window_extent(renderer)
        wide, high = box.width, box.height
        frame = axes.bbox
        for distance in range(9, 160, 6):
            for right, up in SIDES:
                left = right * distance + (0 if right > 0 else -wide if right < 0 else -wide / 2)
                bottom = up * (distance + high / 2) - high / 2
                corner = place[0] + left, place[1] + bottom
                box = (*corner, corner[0] + wide, corner[1] + high)
                inside = box[0] > frame.x0 and box[2] < frame.x1 and box[1] > frame.y0 and box[3] < frame.y1
                if inside and not any(overlap(box, other) for other in taken):
                    break
            else:
                continue
            break
        text.set_position((left, bottom))
        taken.append(box)
        if distance > 20:
            line = {"arrowstyle": "-", "color": PUBLISHED, "lw": 0.5, "shrinkA": 0, "shrinkB": 4}
            near = min(max(0, left), left + wide), min(max(0, bottom), bottom + high)
            axes.annotate("", text.xy, near, textcoords="offset pixels", arrowprops=line)


def overlap(a, b) -> bool:
    """Whether two boxes (left, bottom, right, top) share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
