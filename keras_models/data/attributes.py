"""What the photos of a dataset show, counted by split: whom is it made of, and in what light?

Without anybody's judgement: `lighting` (of the person: dark, backlit, even, bright), `size` (the person's share of the
frame: under a tenth small, under a third medium, else large), `people` (faces or separate masks, whichever are more)
and `crop` (which border of the frame cuts the person: the top, a side, the bottom alone, or none: whole).
--annotations adds a CSV as `data annotate` writes it: a row per person, with the photo's name in the column `image`; of
its attributes every combination is counted too, as the 18 groups of race, gender and age in ExtremeC3Net's table 7.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keras_models import command, data
from keras_models.command import UserError, option
from keras_models.data import faces
from keras_models.data.datasets import Dataset, read_each, splits
from keras_models.data.images import VOID
from keras_models.data.listing import stem_of

PAPER = {  # ExtremeC3Net's table 6; "Youth" is youth and middle age
    "race": ("Caucasian", "Asian", "Black"),
    "gender": ("Man", "Woman"),
    "age": ("Child", "Youth", "Senior"),
}
MEASURED = {
    "lighting": ("dark", "backlit", "even", "bright"),
    "size": ("small", "medium", "large"),
    "people": ("1", "2", "3 or more"),
    "crop": ("whole", "bottom", "side", "top"),
}

People = dict[str, list[dict[str, str]]]  # of each photo, by its name without suffix: each person's attributes


@dataclass(frozen=True)
class AttributesOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    dataset: str = option("folder", metavar="KIND", help="its kind; python -m keras_models.data info lists them")
    annotations: str | None = option(None, metavar="FILE.csv", help="attributes that people entered")
    output: str | None = option(None, metavar="OUT.csv", help="write the measured attributes here, one row per photo")
    json: str | None = option(None, metavar="FILE", help="write the counts here as JSON")
    plot: str | None = option(None, metavar="FILE", help="draw the counts here, as .png, .svg or .pdf")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for a dataset or a CSV that cannot be read."""
    options = command.parse(
        AttributesOptions,
        argv,
        program="python -m keras_models.data attributes",
        description=__doc__,
        example="python -m keras_models.data attributes eg1800 --annotations people.csv --plot who.png",
    )
    annotated = read(options.annotations) if options.annotations else {}
    if options.plot:
        pyplot_for(options.plot)
    sets = {s: data.load(options.dataset, options.data_dir, s) for s in splits(options.dataset, options.data_dir)}
    if options.annotations:
        require_known(annotated, [stem for dataset in sets.values() for stem in map(stem_of, dataset.names)], options)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    rows = []
    for split, dataset in sets.items():
        found = measure(dataset, command.progress(f"looking at {dataset.title}"))
        rows += [{"image": name, **people[0]} for name, people in found.items()]
        people = {name: annotated[name] for name in map(stem_of, dataset.names) if name in annotated}
        for title, table in (*tables(found, MEASURED), *tables(people, order_of(annotated), combined=True)):
            for value, count in table.items():
                counts.setdefault(title, {}).setdefault(value, {})[split] = count
    print(_text(counts, {split: len(dataset) for split, dataset in sets.items()}))
    if options.output:
        with command.whole_file(options.output) as path:
            write(path, {row.pop("image"): [row] for row in rows})
    if options.json:
        command.write_text(options.json, json.dumps({"counts": counts}, indent=1) + "\n")
    if options.plot:
        with command.whole_file(options.plot) as path:
            _plot(counts, tuple(sets), path)
    return 0


def read(path: str | Path) -> People:
    """The people of each photo of a CSV; a value left empty is not there. UserError says what is wrong with the file.

    Its first line names the columns: `image`, a photo's name with or without suffix, and one per attribute.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = [(name or "").strip() for name in reader.fieldnames or ()], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    if "image" not in columns or len(columns) < 2 or len(set(columns)) < len(columns) or not all(columns):
        raise UserError(
            f"{path} must have a first line such as image,race,gender,age: the photo, and a column per attribute. "
            f"Received: {','.join(columns) or 'nothing'}"
        )
    people: People = {}
    for number, row in enumerate(rows, start=2):
        values = {(k or "").strip(): (v or "").strip() for k, v in row.items() if k is not None}
        if None in row or not values["image"]:
            raise UserError(f"{path}, line {number}: a row has the photo's name and {len(columns) - 1} values.")
        person = {name: values[name] for name in columns if name != "image" and values[name]}
        people.setdefault(stem_of(values["image"]), []).append(person)
    if not people:
        raise UserError(f"{path} has no rows.")
    return people


def write(path: Path, people: People, columns: tuple[str, ...] = ()) -> None:
    """A CSV that `read` reads, one row per person. `columns`: attributes that have a column in any case."""
    names = dict.fromkeys([*columns, *(name for group in people.values() for one in group for name in one)])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["image", *names])
        writer.writeheader()
        writer.writerows({"image": image, **person} for image, group in people.items() for person in group)


def require_known(annotated: People, names: list[str], options) -> None:
    """UserError when the CSV has none of the photos `names`: it belongs to another set."""
    if not set(annotated) & set(names):
        raise UserError(
            f"{options.annotations} has none of the photos of {options.data_dir}. Its column `image` has names such as "
            f"{next(iter(annotated))!r}, the photos are called {names[0]!r} and so on."
        )


def order_of(people: People) -> dict[str, tuple[str, ...]]:
    """The attributes of `people` and their values: those of `PAPER` in its order, others as they appear."""
    found: dict[str, dict[str, None]] = {}
    for person in itertools.chain.from_iterable(people.values()):
        for name, value in person.items():
            found.setdefault(name, {})[value] = None
    ordered = {}
    for name, values in found.items():
        known = PAPER.get(name) or MEASURED.get(name) or ()
        ordered[name] = (*known, *(v for v in values if v not in known)) if set(known) & set(values) else tuple(values)
    return ordered


def tables(people: People, order: dict[str, tuple[str, ...]], combined: bool = False) -> list[tuple[str, dict]]:
    """(attribute, {value: people who have it}) for each attribute; with `combined` also for all of them together."""
    everybody = list(itertools.chain.from_iterable(people.values()))
    found = [(a, {v: sum(one.get(a) == v for one in everybody) for v in values}) for a, values in order.items()]
    if combined and len(order) > 1:
        groups = Counter(tuple(person.get(name) for name in order) for person in everybody)
        found.append((", ".join(order), {", ".join(g): groups[g] for g in itertools.product(*order.values())}))
    return found


def measure(dataset: Dataset, progress=None) -> People:
    """The `MEASURED` attributes of every photo, as those of one person. UserError names photos that are broken."""
    detectors = faces.detectors("haar-frontal")
    found = read_each(dataset, lambda image, labels: measured(image, labels, detectors), progress)
    return {stem_of(name): [values] for name, values in zip(dataset.names, found, strict=True)}


def measured(image: np.ndarray, labels: np.ndarray, detectors: tuple[faces.Detector, ...]) -> dict[str, str]:
    """The `MEASURED` attributes of RGB uint8 `image` with `labels`; none of them where the labels show nobody."""
    person, ground = (labels > 0) & (labels != VOID), labels == 0
    if not person.any():
        return {}
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    light, behind = float(grey[person].mean()), float(grey[ground].mean()) if ground.any() else 0.0
    lighting = "dark" if light < 60 else "bright" if light > 180 else "even"
    if behind - light > 70:
        lighting = "backlit"
    share = person.mean()
    _, _, stats, _ = cv2.connectedComponentsWithStats(person.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    blobs = int((areas > 0.1 * areas.max()).sum())
    number = max(blobs, len(faces.find(detectors, image, labels)))
    # A border of the frame cuts the person where a twentieth of it shows person.
    top, bottom, left, right = (e.mean() > 0.05 for e in (person[0], person[-1], person[:, 0], person[:, -1]))
    crop = "top" if top else "side" if left or right else "bottom" if bottom else "whole"
    return {
        "lighting": lighting,
        "size": "small" if share < 0.1 else "medium" if share < 1 / 3 else "large",
        "people": ("1", "2", "3 or more")[min(number, 3) - 1],
        "crop": crop,
    }


def _text(counts: dict, photos: dict[str, int]) -> str:
    """The counts as a table: a line per value, a column per split, and its share."""
    lines = [f"{'':34s}" + "".join(f"{f'{split} ({count})':>18s}" for split, count in photos.items())]
    for title, values in counts.items():
        totals = {split: sum(value.get(split, 0) for value in values.values()) for split in photos}
        lines.append(title)
        for value, count in values.items():
            cells = (f"{count.get(split, 0):9d}{count.get(split, 0) / max(1, totals[split]):8.1%} " for split in photos)
            lines.append(f"  {value:32s}" + "".join(cells))
    return "\n".join(lines)


def pyplot_for(path: str | Path):
    """`matplotlib.pyplot`, to draw into the file `path`. UserError when that cannot be."""
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"A plot is a .png, .svg or .pdf file. Received: {path}")
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise UserError("Plots need matplotlib: pip install matplotlib") from error
    return pyplot


def _plot(counts: dict, split_names: tuple[str, ...], path: Path) -> None:
    """A histogram for each attribute; that of all of them together, the paper's figure 5, is as wide as the page."""
    pyplot = pyplot_for(path)
    wide = [title for title, values in counts.items() if len(values) > 8]
    small = [title for title in counts if title not in wide]
    rows = -(-len(small) // 4) + len(wide)
    figure = pyplot.figure(figsize=(13, 3.4 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 4)
    places = [(title, grid[i // 4, i % 4]) for i, title in enumerate(small)]
    places += [(title, grid[rows - len(wide) + i, :]) for i, title in enumerate(wide)]
    for title, place in places:
        axes, values = figure.add_subplot(place), counts[title]
        width = 0.8 / len(split_names)
        for i, split in enumerate(split_names):
            heights = [value.get(split, 0) for value in values.values()]
            bars = axes.bar(
                np.arange(len(values)) + (i - (len(split_names) - 1) / 2) * width, heights, width, label=split
            )
            axes.bar_label(bars, fontsize=6)
        axes.set_title(title)
        slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(values) > 4 else {}
        axes.set_xticks(range(len(values)), list(values), fontsize=8, **slanted)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
