"""Parameters, multiply-accumulates and FLOPs of the networks beside what their papers print.

Without NAME: the papers' tables, each printed figure marked = (ours, rounded or cut to its digits), ~ (ours within
5 %), x (ours is another) or ! (a misprint). With NAME: that network layer by layer.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np

from keras_models import command, complexity, pictures, registry
from keras_models.command import UserError, option
from keras_models.complexity import Complexity, LayerCost
from keras_models.tables import TABLES, Row, Table

UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
NEAR = 0.05
NUMBER = re.compile(r"([\d.,]+[KMG]?( [=~x!])?)?")


@dataclass(frozen=True)
class SummaryOptions:
    """The command's flags."""

    network: str | None = option(None, positional=True, metavar="NAME", help="one network, layer by layer")
    json: str | None = option(None, metavar="FILE", help="write the same as JSON")
    markdown: str | None = option(None, metavar="FILE", help="write the same as Markdown")
    picture: str | None = option(None, metavar="FILE", help="draw accuracy against parameters of the measured results")
    results: str = option("benchmarks", metavar="DIR", help="where the measured results are (JSON files)")


def main(argv: list[str] | None = None) -> None:
    """The command; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        SummaryOptions,
        argv,
        program="python -m keras_models.summary",
        description=__doc__,
        example="python -m keras_models.summary extremec3",
    )
    if options.network and options.network not in registry.names():
        raise UserError(f"Unknown network. Valid names: {', '.join(registry.names())}. Received: {options.network!r}")
    if options.picture:
        measured = measured_results(options.results)
        pictures.write(options.picture, draw(measured))
        print(f"{len(measured)} measured networks -> {options.picture}")
        return
    tables = [layer_table(options.network)] if options.network else [*paper_tables(), network_table()]
    print("\n\n".join(as_text(table) for table in tables))
    if options.json:
        command.write_text(options.json, json.dumps(tables, indent=1))
    if options.markdown:
        command.write_text(options.markdown, "\n\n".join(as_markdown(table) for table in tables) + "\n")


# -- Counting ----------------------------------------------------------------------------------------------------------


@functools.cache
def _costs(name: str, classes: int | None, input_size, bilinear_flops: int) -> tuple[list[LayerCost], tuple]:
    # The shapes are enough; drawing the initial weights of the large networks would take minutes.
    with keras.StatelessScope(initialize_variables=False):
        model = registry.build(name, classes, input_size)
    costs, shape = complexity.by_layer(model, bilinear_flops), model.output_shape
    del model
    keras.backend.clear_session()  # else Keras draws them with the next network's
    return costs, shape


def measure(name: str, classes: int | None = None, input_size=None, bilinear_flops: int = 3):
    """(`Complexity`, output shape) of a registered network, without giving its weights values."""
    costs, shape = _costs(name, classes, input_size, bilinear_flops)
    return Complexity(*(sum(getattr(cost, what) for cost in costs) for what in ("parameters", "macs", "flops"))), shape


def flops_by_rule(costs: list[LayerCost], rule: str) -> int:
    """FLOPs of a network as a row's rule counts them (`tables.Row`)."""
    if rule == "conv + bn":
        return sum(
            cost.flops for cost in costs if cost.kind == "BatchNormalization" or (cost.macs and not _transposed(cost))
        )
    if rule == "no deconv":
        return sum(cost.flops for cost in costs if not _transposed(cost))
    return sum(cost.flops - cost.macs if rule == "one per MAC" else cost.flops for cost in costs)


def _transposed(cost: LayerCost) -> bool:
    return cost.kind in ("Conv2DTranspose", "BilinearDeconvolution")


def agreement(printed: str, value: float) -> str:
    """= when `value` rounded or cut has the printed digits, ~ within 5 %, x otherwise, "" when nothing is printed."""
    if not printed:
        return ""
    digits = printed.rstrip("KMG")
    scaled = value / UNITS[printed[len(digits) :]]
    steps = (scaled - float(digits)) * 10 ** len(digits.partition(".")[2])  # of the last printed digit
    if -0.5 <= round(steps, 6) < 1:
        return "="
    return "~" if abs(scaled / float(digits) - 1) <= NEAR else "x"


# -- Tables: dictionaries with a title, columns and rows ---------------------------------------------------------------


def paper_tables() -> list[dict]:
    """Each of the papers' tables with our figures beside theirs."""
    show = command.progress("counting")
    done, tables = 0, []
    for table in TABLES:
        rows = []
        for row in table.rows:
            rows.append(_compare(table, row))
            done += 1
            show(done, sum(len(t.rows) for t in TABLES))
        columns = ("method", "network", "parameters", "published", "FLOPs", "published ", "MACs", "published  ")
        columns = (*columns, table.accuracy, "verdict", "reason")
        tables.append({"title": f"{table.paper}, {table.title}", "columns": columns, "rows": rows})
    return tables


def _compare(table: Table, row: Row) -> list:
    network = registry.network(row.network)
    classes, size = row.options.get("classes"), row.options.get("input_size")
    costs, _ = _costs(row.network, classes, size, 13 if table.paper == "C3" else 3)
    parameters = sum(cost.parameters for cost in costs)
    flops = flops_by_rule(costs, row.rule)
    # ESPNetv2's counter, with which the papers count multiply-accumulates, leaves deconvolutions out.
    macs = sum(cost.macs for cost in costs if not _transposed(cost))
    ours = {"parameters": parameters, "flops": flops, "macs": macs}
    marks = [
        "!" if figure in row.misprints else agreement(getattr(row, figure), value) for figure, value in ours.items()
    ]
    printed = [
        f"{text} {mark}".strip() for text, mark in zip((row.parameters, row.flops, row.macs), marks, strict=True)
    ]
    figures = [f"{parameters:,}", f"{flops / 1e9:.4g}G", f"{macs / 1e9:.4g}G"]
    beside = [cell for pair in zip(figures, printed, strict=True) for cell in pair]
    reason = "; ".join(text for text in (row.note, verdict(marks) != "exact" and network.reason) if text)
    return [row.method, row.network, *beside, row.accuracy, verdict(marks), reason]


def verdict(marks: list[str]) -> str:
    """One word for a row's marks; without any printed figure there is nothing to compare."""
    if "x" in marks:
        return "not reproducible"
    if "~" in marks:
        return "near"
    return "exact" if "=" in marks else "no figures"


def network_table() -> dict:
    """Every registered network at its default size and classes."""
    rows = [
        [
            row.name,
            row.paper,
            f"{row.input_size[0]}x{row.input_size[1]}",
            row.classes,
            f"{row.parameters:,}",
            f"{row.macs / 1e9:.4g}G",
            row.status,
            row.reason,
        ]
        for row in map(registry.network, registry.names())
    ]
    columns = ("network", "paper", "input", "classes", "parameters", "MACs", "status", "reason")
    return {"title": "All networks", "columns": columns, "rows": rows}


def layer_table(name: str) -> dict:
    """One network, layer by layer, and its sum."""
    costs, _ = _costs(name, None, None, 3)
    rows = [
        [c.name, c.kind, "x".join(map(str, c.output_shape)), f"{c.parameters:,}", f"{c.macs:,}", f"{c.flops:,}"]
        for c in costs
    ]
    total = [f"{value:,}" for value in dataclasses.astuple(measure(name)[0])]
    columns = ("layer", "type", "output", "parameters", "MACs", "FLOPs")
    row = registry.network(name)
    title = f"{name} at {row.input_size[0]}x{row.input_size[1]}, {row.classes} class(es): {row.status}"
    return {"title": f"{title}. {row.reason}".strip(), "columns": columns, "rows": [*rows, ["sum", "", "", *total]]}


def as_text(table: dict) -> str:
    """The table with aligned columns; numbers stand on the right."""
    rows = [[str(cell) for cell in row] for row in (table["columns"], *table["rows"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [all(map(NUMBER.fullmatch, column[1:])) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([table["title"], lines[0], "-" * len(lines[0]), *lines[1:]])


def as_markdown(table: dict) -> str:
    """The table as GitHub shows it."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (table["columns"], *table["rows"])]
    return "\n".join([f"### {table['title']}", "", lines[0], "|---" * len(table["columns"]) + "|", *lines[1:]])


# -- Accuracy against parameters ---------------------------------------------------------------------------------------


def measured_results(folder: str) -> list[dict]:
    """title, parameters and foreground_iou of each result under `folder`; UserError when there is none."""
    found = []
    for path in sorted(Path(folder).rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for entry in content if isinstance(content, list) else [content]:
            if not isinstance(entry, dict) or "foreground_iou" not in entry:
                continue
            name = entry.get("network")
            parameters = entry.get("parameters") or (name in registry.names() and registry.network(name).parameters)
            if parameters:
                title = entry.get("title") or name
                found.append({"title": title, "parameters": parameters, "foreground_iou": entry["foreground_iou"]})
    if not found:
        raise UserError(
            f"No measured accuracy under {folder}: no JSON file there has a foreground_iou and a network's name or "
            "parameters. Make one: python -m keras_models.evaluate MODEL --json FILE, or python -m benchmarks.accuracy"
        )
    return found


def draw(results: list[dict], size: tuple[int, int] = (520, 760)) -> np.ndarray:
    """RGB uint8: foreground IoU over parameters on a logarithmic axis, as figure 1 of ExtremeC3Net."""
    height, width = size
    left, right, top, bottom = 70, width - 30, 30, height - 60
    image = np.full((height, width, 3), 255, np.uint8)
    x = np.log10([entry["parameters"] for entry in results])
    y = 100 * np.array([entry["foreground_iou"] for entry in results])
    x_low, x_high = np.floor(x.min() * 2) / 2, np.ceil(x.max() * 2 + 1e-9) / 2 + 0.5
    y_low, y_high = np.floor(y.min()) - 1, np.ceil(y.max()) + 1

    def at(log_parameters, iou):
        across = (log_parameters - x_low) / (x_high - x_low)
        return round(left + across * (right - left)), round(bottom - (iou - y_low) / (y_high - y_low) * (bottom - top))

    def write(text, position, colour=(40, 40, 40), scale=0.45):
        cv2.putText(image, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)

    for decade in range(int(np.ceil(x_low)), int(x_high) + 1):
        column, _ = at(decade, y_low)
        cv2.line(image, (column, top), (column, bottom), (225, 225, 225), 1)
        write(
            {3: "1 K", 4: "10 K", 5: "100 K", 6: "1 M", 7: "10 M", 8: "100 M"}.get(decade, ""),
            (column - 18, bottom + 20),
        )
    for iou in np.linspace(y_low, y_high, 6):
        _, row = at(x_low, iou)
        cv2.line(image, (left, row), (right, row), (225, 225, 225), 1)
        write(f"{iou:.1f}", (left - 48, row + 5))
    cv2.rectangle(image, (left, top), (right, bottom), (120, 120, 120), 1)
    write("parameters", ((left + right) // 2 - 40, height - 18))
    write("foreground IoU per image, %", (left, top - 10))
    for entry, log_parameters, iou in zip(results, x, y, strict=True):
        point = at(log_parameters, iou)
        cv2.circle(image, point, 6, (40, 110, 200), -1, cv2.LINE_AA)
        write(f"{entry['title']} {iou:.2f}", (point[0] + 10, point[1] + 4))
    return image


if __name__ == "__main__":
    command.run(main)
