"""The networks' counts beside what their papers print, as tables of text and Markdown."""

from __future__ import annotations

import dataclasses
import functools
import re

import keras

from keras_models import command, complexity, registry
from keras_models.complexity import Complexity, LayerCost
from keras_models.papers.tables import FIGURES, TABLES, UNITS, Row, Table

NEAR = 0.05
BILINEAR_FLOPS = (3, 13)  # ExtremeC3Net's rule and the C3 paper's
NUMBER = re.compile(r"([\d.,]+[KMG]?( [=~x!])?)?")


def _costs(name: str, classes: int | None, input_size, bilinear_flops: int) -> tuple[list[LayerCost], tuple]:
    costs, shape = _costs_by_rule(name, classes, input_size)
    return costs[bilinear_flops], shape


@functools.cache
def _costs_by_rule(name: str, classes: int | None, input_size) -> tuple[dict[int, list[LayerCost]], tuple]:
    # The shapes are enough; drawing the initial weights of the large networks would take minutes.
    with keras.StatelessScope(initialize_variables=False):
        model = registry.build(name, classes, input_size)
    costs, shape = {flops: complexity.by_layer(model, flops) for flops in BILINEAR_FLOPS}, model.output_shape
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
    done, total, tables = 0, sum(len(table.rows) for table in TABLES), []
    for table in TABLES:
        tables.append(_beside(table))
        done += len(table.rows)
        show(done, total)
    printed = [{"title": f"{t.paper}, {t.title}", "columns": t.columns, "rows": list(t.rows)} for t in FIGURES]
    return [*tables, *printed]


def paper_table(paper: str, beginning: str) -> dict:
    """The first table of a paper whose title begins so, with our figures beside its own; ValueError without one."""
    for table in TABLES:
        if table.paper == paper and table.title.startswith(beginning):
            return _beside(table)
    names = ", ".join(f"{table.paper}: {table.title}" for table in TABLES)
    raise ValueError(f"There is no such table. Valid: {names}. Received: {paper!r}, {beginning!r}")


def _beside(table: Table) -> dict:
    columns = ("method", "network", "parameters", "published", "FLOPs", "published ", "MACs", "published  ")
    columns = (*columns, table.accuracy, *table.others, "verdict", "reason")
    rows = [_compare(table, row) for row in table.rows]
    return {"title": f"{table.paper}, {table.title}", "columns": columns, "rows": rows}


def marks_of(table: Table, row: Row) -> tuple[dict[str, int], list[str]]:
    """Our parameters, FLOPs and multiply-accumulates by the row's rule, and `agreement` of each with what it prints."""
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
    return ours, marks


def _compare(table: Table, row: Row) -> list:
    network = registry.network(row.network)
    ours, marks = marks_of(table, row)
    parameters, flops, macs = ours.values()
    printed = [
        f"{text} {mark}".strip() for text, mark in zip((row.parameters, row.flops, row.macs), marks, strict=True)
    ]
    figures = [f"{parameters:,}", f"{flops / 1e9:.4g}G", f"{macs / 1e9:.4g}G"]
    beside = [cell for pair in zip(figures, printed, strict=True) for cell in pair]
    word = verdict(marks, network.status)
    reason = "; ".join(text for text in (row.note, word != "exact" and network.reason) if text)
    return [row.method, row.network, *beside, row.accuracy, *row.others, word, reason]


def verdict(marks: list[str], status: str) -> str:
    """One word for a row's marks and its network's status; without any printed figure there is nothing to compare."""
    if "x" in marks:
        return "not reproducible"
    if "~" in marks:
        return "near"
    if "=" in marks:  # a total may agree where the parts are guessed
        return "near" if status == "near" else "exact"
    return "no figures"


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
