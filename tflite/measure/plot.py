"""Measured latencies as a picture, .svg, .png or .pdf: bars for a comparison, curves for a sustained run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from tflite import runtime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".svg", ".png", ".pdf")


def require(path: str | Path | None) -> None:
    """ModelError when the plot `path` is asked for and cannot be drawn: to be called before the measuring."""
    if path is None:
        return
    if Path(path).suffix.lower() not in KINDS:
        raise runtime.ModelError(f"--plot writes {', '.join(KINDS)}. Received: {path}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise runtime.ModelError("--plot needs matplotlib: pip install matplotlib") from error


def bars(rows: list[tuple[str, float, float]]) -> Figure:
    """One bar per (label, median ms, p90 ms): it ends at the median, the thin line behind it at the p90."""
    labels, medians, p90s = zip(*reversed(rows), strict=True)
    figure = _figure(0.6 + 0.4 * len(rows))
    axes = figure.subplots()
    beyond = [max(0.0, p90 - median) for median, p90 in zip(medians, p90s, strict=True)]
    places = range(len(labels))  # two rows may have one label
    shown = axes.barh(places, medians, xerr=[[0] * len(rows), beyond], error_kw={"ecolor": "#888"})
    axes.bar_label(shown, [f" {median:.2f} ms" for median in medians])
    axes.set_yticks(places, labels)
    axes.margins(x=0.15)
    axes.set_xlabel("ms")
    return figure


def curve(
    minutes: list[float], series: dict[str, list[float | None]], unit: str, other: list[float | None], other_unit: str
) -> Figure:
    """Each of `series` in `unit` against `minutes`, from 0; None is a gap.

    `other` is one more curve, dashed, on its own axis to the right (say, the temperature in `other_unit`), with None
    where there was no reading; [] where there is none at all.
    """
    figure = _figure(4)
    axes = figure.subplots()
    for label, values in series.items():
        axes.plot(minutes, _numbers(values), label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel(unit)
    axes.legend()
    if any(value is not None for value in other):
        right = axes.twinx()
        right.plot(minutes, _numbers(other), "--", color="#888")
        right.set_ylabel(f"{other_unit} (dashed)")
    return figure


def write(path: str | Path, figure: Figure) -> None:
    """The file, whole or not at all."""
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters stay letters
        figure.savefig(content, format=Path(path).suffix[1:].lower(), bbox_inches="tight")
    runtime.write_whole(path, content.getvalue())


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure((8, height))


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
