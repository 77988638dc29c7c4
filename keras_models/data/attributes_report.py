"""Whom a network serves: its foreground IoU by attribute of the photos, and whether a difference is more than chance.

A photo counts once for each value that one of its people has. The interval of a mean is where 95 % of the means of
photos drawn anew (with replacement) lie. The gap of an attribute is between its best and its worst value; how often
such a gap arises when the photos' IoUs are dealt out to the attributes at random is its p.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_models import command
from keras_models.data.attributes import MEASURED, People, order_of, pyplot_for
from keras_models.data.listing import stem_of

DRAWS = 4000
FEWEST = 5  # photos of a value that takes part in a gap
CHANCE = 0.05  # for all attributes together


def members(names: tuple[str, ...], people: People) -> dict[str, dict[str, np.ndarray]]:
    """For each attribute and value the indices of the photos with a person who has it, where there are any."""
    found = {}
    for attribute, values in order_of(people).items():
        has = {
            v: [any(one.get(attribute) == v for one in people.get(stem_of(name), ())) for name in names] for v in values
        }
        found[attribute] = {value: np.flatnonzero(flags) for value, flags in has.items() if any(flags)}
    return {attribute: values for attribute, values in found.items() if values}


def report(iou: np.ndarray, groups: dict[str, dict[str, np.ndarray]], seed: int = 0) -> dict:
    """`attributes` (per value foreground_iou, images, low, high) and `attribute_gaps`, as `evaluate --json` has them.

    `iou`: the foreground's IoU per photo. low and high are None for a single photo. A gap has `highest` and `lowest`,
    the values; `gap`; `p`; and `more_than_chance`, whether p is below 0.05 divided by the number of attributes.
    """
    rng = np.random.default_rng(seed)
    attributes = {a: {value: _mean(iou[where], rng) for value, where in values.items()} for a, values in groups.items()}
    gaps = {}
    for attribute, values in groups.items():
        enough = {value: where for value, where in values.items() if len(where) >= FEWEST}
        if len(enough) > 1:
            means = {value: attributes[attribute][value]["foreground_iou"] for value in enough}
            highest, lowest = max(means, key=means.get), min(means, key=means.get)
            gap = means[highest] - means[lowest]
            p = _chance(iou, list(enough.values()), gap, rng)
            gaps[attribute] = {"highest": highest, "lowest": lowest, "gap": gap, "p": p}
    for gap in gaps.values():
        gap["more_than_chance"] = gap["p"] < CHANCE / len(gaps)
    return {"attributes": attributes, "attribute_gaps": gaps}


def differences(iou: np.ndarray, other: np.ndarray, groups: dict[str, dict[str, np.ndarray]], seed: int = 0) -> dict:
    """Per attribute and value the mean of `other` - `iou` over the same photos: `difference`, `low`, `high`."""
    rng = np.random.default_rng(seed)
    found = {a: {value: _mean((other - iou)[where], rng) for value, where in v.items()} for a, v in groups.items()}
    return {
        a: {v: {"difference": m["foreground_iou"], "low": m["low"], "high": m["high"]} for v, m in values.items()}
        for a, values in found.items()
    }


def _mean(values: np.ndarray, rng: np.random.Generator) -> dict:
    low = high = None
    if len(values) > 1:
        means = [values[rng.integers(len(values), size=(200, len(values)))].mean(axis=1) for _ in range(DRAWS // 200)]
        low, high = map(float, np.percentile(np.concatenate(means), (2.5, 97.5)))
    return {"foreground_iou": float(values.mean()), "images": len(values), "low": low, "high": high}


def _chance(iou: np.ndarray, groups: list[np.ndarray], gap: float, rng: np.random.Generator) -> float:
    """The share of random deals of the photos' IoUs to the photos in which the groups' means differ by `gap`."""
    photos = np.unique(np.concatenate(groups))
    places = [np.searchsorted(photos, where) for where in groups]
    as_large = 0
    for _ in range(DRAWS):
        dealt = rng.permutation(iou[photos])
        means = [dealt[where].mean() for where in places]
        as_large += max(means) - min(means) >= gap - 1e-12
    return float(as_large + 1) / (DRAWS + 1)


def text(facts: dict, compared: dict | None = None) -> str:
    """The report as a table; with `compared` (as `evaluate` writes it) the second model's differences beside."""
    lines = ["foreground IoU by attribute, with its 95 % interval"]
    if compared:
        lines[0] += f"; beside it what {compared['model']} has more"
    for attribute, values in facts["attributes"].items():
        lines.append(f"  {attribute}" + (" (measured)" if attribute in MEASURED else ""))
        for value, figures in values.items():
            line = f"    {value:18s}{figures['images']:6d} photos {figures['foreground_iou']:8.4f} {_interval(figures)}"
            if compared:
                more = compared["differences"][attribute][value]
                line += f"   {more['difference']:+.4f} {_interval(more, '+')}"
            lines.append(line.rstrip())
        gap = facts["attribute_gaps"].get(attribute)
        if gap:
            verdict = "more than chance" if gap["more_than_chance"] else "may be chance"
            line = f"    gap {gap['gap']:.4f}, {gap['highest']} over {gap['lowest']}: {verdict} (p {gap['p']:.4f})"
            other = compared and compared["attribute_gaps"].get(attribute)
            lines.append(line + (f"; {compared['model']}: {other['gap']:.4f} (p {other['p']:.4f})" if other else ""))
    return "\n".join(lines)


def _interval(figures: dict, sign: str = "") -> str:
    if figures["low"] is None:
        return f"{'(one photo)':18s}"
    return f"({figures['low']:{sign}.4f} to {figures['high']:{sign}.4f})"


def plot(path: str | Path, models: dict[str, dict], title: str) -> None:
    """Each value's mean and interval as .png, .svg or .pdf; `models` gives the `attributes` of one model or two."""
    pyplot = pyplot_for(path)
    first = next(iter(models.values()))
    rows = [(attribute, value) for attribute, values in first.items() for value in values]
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.32 * (len(rows) + len(first))), layout="constrained")
    heights, labels, height = [], [], 0.0
    for i, (attribute, value) in enumerate(rows):
        if i and rows[i - 1][0] != attribute:
            height += 0.7
            axes.axhline(height - 0.85, color="0.85", linewidth=0.8)
        heights.append(height)
        labels.append(f"{attribute}: {value} ({first[attribute][value]['images']})")
        height += 1
    for number, (name, attributes) in enumerate(models.items()):
        figures = [attributes[attribute][value] for attribute, value in rows]
        means = np.array([each["foreground_iou"] for each in figures])
        ends = [
            [mean - each["low"], each["high"] - mean] if each["low"] is not None else [0, 0]
            for mean, each in zip(means, figures, strict=True)
        ]
        offset = 0.3 * (number - (len(models) - 1) / 2)
        axes.errorbar(
            100 * means,
            np.array(heights) + offset,
            xerr=100 * np.array(ends).T.clip(0),
            fmt="o",
            capsize=3,
            markersize=5,
            label=name,
        )
    axes.set_yticks(heights, labels, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("foreground IoU per photo, %, with its 95 % interval")
    axes.set_title(title, fontsize=11)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9)
    with command.whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)
