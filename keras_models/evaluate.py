"""Measure a network on labelled photos: `python -m keras_models.evaluate extremec3-eg1800 --dataset eg1800 ...`.

MODEL is a run folder, a preset's name, a `.keras` or a `.tflite` file. Everything is measured at the network's input
size: the photo resized bilinearly without keeping its aspect ratio, the mask by nearest neighbour, as the papers do.
`foreground_iou` is the portrait papers' "mIoU": the foreground's IoU of each photo, averaged over the photos.
`mean_iou` is the mean over the classes of the IoU of the summed confusion matrix, with the background;
`mean_iou_without_background`, Improved DeepLabv3+'s, leaves that out. --attributes says whom it serves: the
foreground IoU by attribute of the photos, with intervals and gaps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import keras_models as km
from keras_models import command, data, pictures
from keras_models.command import UserError, option
from keras_models.data import attributes, attributes_report
from keras_models.data.datasets import SPLITS, read_each
from keras_models.data.pipeline import subsample
from keras_models.masks import FILLS, fill_contours

if TYPE_CHECKING:
    from keras_models.models import Predictor


@dataclass(frozen=True)
class EvaluateOptions:
    """The command's flags."""

    models: tuple[str, ...] = option(
        positional=True,
        metavar="MODEL",
        help="run folder, preset, .keras or .tflite; --worst and --attributes: the first",
    )
    dataset: str | None = option(
        None, metavar="KIND", help="kind of dataset (default: folder with --data-dir, else drawings)"
    )
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    split: str = option("test", choices=(*SPLITS, "all"), help="which split")
    json: str | None = option(None, metavar="FILE", writes=(), help="write the figures here as JSON")
    worst: str | None = option(
        None, metavar="FILE.png", writes=command.PICTURES, help="write a contact sheet of the worst photos here"
    )
    sheet: str | None = option(
        None, metavar="FILE.png", writes=command.PICTURES, help="write the same photos through all models here"
    )
    sheet_count: int = option(6, least=1, help="photos on the sheet, spread over the split")
    worst_count: int = option(12, least=1, help="photos on the contact sheet")
    fill_contours: str | None = option(
        None,
        choices=FILLS,
        help="fill what the foreground encloses first: in all its regions, or in the largest alone (EOAM's poster)",
    )
    attributes: str | None = option(
        None, metavar="FILE.csv", help="figures by attribute: a list of `data annotate`, or `measured` for none"
    )
    against: str | None = option(None, metavar="MODEL", help="with --attributes: a second model to compare with")
    attributes_plot: str | None = option(None, metavar="FILE", help="draw the figures by attribute (.png, .svg, .pdf)")


@dataclass(frozen=True)
class Result:
    """What was measured: figures as fractions of 1, and the photos' names and IoU.

    `foreground_iou` is that of each photo; `image_iou` too, or the mean over the classes of the photo when there are
    more than two. `worst` holds the photos of lowest IoU that were asked for: (index, true labels, predicted labels) at
    the network's output size.
    """

    figures: dict
    names: tuple[str, ...]
    foreground_iou: np.ndarray
    image_iou: np.ndarray
    worst: list[tuple[int, np.ndarray, np.ndarray]]


class Lowest:
    """The `count` items of lowest value out of any number."""

    def __init__(self, count: int):
        self.count, self._items = count, []

    def add(self, value: float, item: tuple) -> None:
        self._items = sorted([*self._items, (value, item)], key=lambda pair: pair[0])[: self.count]

    def __iter__(self) -> Iterator[tuple]:
        return (item for _, item in self._items)


class Tally:
    """The figures of `network` on `dataset`, gathered batch by batch; of masks it keeps only the `worst` ones.

    On data of background and foreground, every class of the network but the first is foreground; `fill` says in which
    of its regions it is filled, if at all (`masks.fill_contours`). On data of more classes the network must have the
    same ones, and may have void as one more, which no photo is labelled with and none is predicted as; else UserError.
    """

    def __init__(self, network: Predictor, dataset: data.Dataset, worst: int = 0, fill: str | None = None):
        self.network, self.dataset, self.worst, self.fill = network, dataset, Lowest(worst), fill
        self.classes = len(dataset.class_names)
        if fill and self.classes > 2:
            raise UserError(f"--fill-contours fills the foreground; {dataset.title} has {self.classes} classes.")
        names = [name for i, name in enumerate(network.class_names) if i < self.classes or name != "void"]
        if self.classes > 2 and len(names) != self.classes:
            raise UserError(
                f"{network.name} has {len(network.class_names)} classes ({_listed(network.class_names)}), "
                f"{dataset.title} has {self.classes} ({_listed(dataset.class_names)}). Train a network on this kind of "
                "data."
            )
        if self.classes > 2:
            km.models.require_same_order(network.name, network.class_names, dataset.title, dataset.class_names)
        self.confusion = np.zeros((self.classes, self.classes), np.int64)
        self.photos: list[km.metrics.PhotoFigures] = []
        self.image_iou: list[float] = []

    def add(self, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """The next photos' labels at the input size, uint8 (photos, height, width); returns the predicted ones."""
        predictions = _numpy(km.metrics.predicted_labels(logits, self.classes)).astype(np.uint8)
        if self.fill:
            predictions = np.stack([fill_contours(found, regions=self.fill) for found in predictions])
        for mask, found in zip(labels, predictions, strict=True):
            truth = subsample(mask, found.shape)
            photo = km.metrics.of_photo(truth, found, self.classes)
            self.confusion += photo.confusion
            self.photos.append(photo)
            iou = photo.foreground_iou if self.classes == 2 else float(km.metrics.mean_iou(photo.confusion))
            self.worst.add(iou, (len(self.image_iou), truth, found))
            self.image_iou.append(iou)
        return predictions

    def result(self) -> Result:
        """What was measured. UserError when no pixel of the labels counts."""
        if not self.confusion.any():
            raise UserError(f"Nothing to measure: every label of {self.dataset.title} is void.")
        class_iou = [None if np.isnan(iou) else float(iou) for iou in _numpy(km.metrics.class_iou(self.confusion))]
        means = km.metrics.mean_figures(self.photos)
        figures = {
            "model": self.network.name,
            "data": self.dataset.title,
            "images": len(self.image_iou),
            "input_size": list(self.network.input_size),
            "foreground_iou": means.pop("foreground_iou"),
            "mean_iou": float(km.metrics.mean_iou(self.confusion)),
            "pixel_accuracy": float(km.metrics.pixel_accuracy(self.confusion)),
            **means,
            "class_iou": dict(zip(self.dataset.class_names, class_iou, strict=True)),
        }
        if self.classes > 2 and self.dataset.class_names[0] == "background":
            figures["mean_iou_without_background"] = without_background(figures["class_iou"])
        if self.fill:
            figures["fill_contours"] = self.fill
        foreground_iou = np.array([photo.foreground_iou for photo in self.photos])
        return Result(figures, self.dataset.names, foreground_iou, np.array(self.image_iou), list(self.worst))


def main_figure(classes: int) -> str:
    """The key of the figure that a network is judged by: with more than two classes another one."""
    return "mean_iou" if classes > 2 else "foreground_iou"


def without_background(class_iou: dict[str, float | None]) -> float | None:
    """The mean IoU of the classes that are there, but for the background; None when no other is."""
    ious = [iou for name, iou in class_iou.items() if name != "background" and iou is not None]
    return float(np.mean(ious)) if ious else None


def batches(
    dataset: data.Dataset, input_size: tuple[int, int], batch_size: int = 16, progress: Callable | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Photos uint8 (n, height, width, 3) and labels uint8 (n, height, width) at `input_size`, read as they are needed.

    UserError names every photo that cannot be read.
    """
    images, labels = [], []

    def convert(image, mask):
        return data.prepare_image(image, input_size), data.prepare_mask(mask, input_size)

    for number, (image, mask) in enumerate(read_each(dataset, convert, progress), start=1):
        images.append(image)
        labels.append(mask)
        if len(images) == batch_size or number == len(dataset):
            yield np.stack(images), np.stack(labels)
            images, labels = [], []


def evaluate(
    network: Predictor,
    dataset: data.Dataset,
    progress: Callable | None = None,
    batch_size: int = 16,
    worst: int = 0,
    fill: str | None = None,
) -> Result:
    """Run `network` over `dataset` and measure, with the masks of the `worst` photos; `fill`: see `Tally`.

    Memory does not grow with the dataset. UserError names every photo that cannot be read; see `Tally` for others.
    """
    tally = Tally(network, dataset, worst, fill)
    data.require_foreground(dataset)
    for images, labels in batches(dataset, network.input_size, batch_size, progress):
        tally.add(labels, network.logits(images))
    return tally.result()


def _numpy(tensor) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(tensor)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def contact_sheet(result: Result, dataset: data.Dataset, columns: int = 4) -> np.ndarray:
    """The worst photos of `result` as RGB uint8: the truth on the left, the prediction on the right."""
    tiles, colors = [], pictures.class_colors(dataset)
    for i, *masks in result.worst:
        image = dataset.load(i)[0]
        pair = [
            pictures.fit(pictures.overlay(image, data.prepare_mask(labels, image.shape[:2]), colors), (224, 200))
            for labels in masks
        ]
        tiles.append(pictures.caption(np.hstack(pair), f"{result.names[i]}  IoU {result.image_iou[i]:.3f}"))
    return pictures.grid(tiles, columns)


def comparison_sheet(networks: list[Predictor], dataset: data.Dataset, count: int, fill: str | None = None):
    """RGB uint8: a row for each of `count` photos spread over `dataset`, with the truth and what each network finds."""
    tiles, colors, size = [], pictures.class_colors(dataset), (224, 200)

    def tile(image, labels, text):
        labels = data.prepare_mask(labels, image.shape[:2])
        return pictures.caption(pictures.fit(pictures.overlay(image, labels, colors), size), text)

    for i in np.unique(np.linspace(0, len(dataset) - 1, count).astype(int)):
        image, labels = dataset.load(i)
        tiles += [pictures.caption(pictures.fit(image, size), dataset.names[i]), tile(image, labels, "truth")]
        for network in networks:
            tally = Tally(network, dataset, fill=fill)
            mask = data.prepare_mask(labels, network.input_size)
            found = tally.add(mask[None], network.logits(data.prepare_image(image, network.input_size)[None]))
            tiles.append(tile(image, found[0], f"{tally.image_iou[0]:.3f} {network.name}"))
    return pictures.grid(tiles, 2 + len(networks))


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        EvaluateOptions,
        argv,
        program="python -m keras_models.evaluate",
        description=__doc__,
        example="python -m keras_models.evaluate runs/extremec3-20260101-120000 --dataset eg1800 --data-dir eg1800",
    )
    command.load_keras()
    name = data.kind_of(options.dataset, options.data_dir)
    for model in filter(None, (*options.models, options.against)):
        if Path(model).suffix != ".tflite":
            km.models.find(model)
    if not options.attributes and (options.against or options.attributes_plot):
        raise UserError("--against and --attributes-plot go with --attributes FILE.csv, or --attributes measured.")
    dataset = data.load(name, options.data_dir, options.split)
    if dataset.note:
        print(dataset.note)
    people = {}
    if options.attributes and options.attributes != "measured":
        people = attributes.read(options.attributes)
        attributes.require_known(people, [attributes.stem_of(name) for name in dataset.names], options)
    if options.attributes_plot:
        attributes.pyplot_for(options.attributes_plot)
    progress = command.progress(f"measuring on {dataset.title}")
    worst = options.worst_count if options.worst else 0
    fill = options.fill_contours
    networks = [km.models.predictor(model) for model in options.models]
    result, *others = (evaluate(network, dataset, progress, worst=worst, fill=fill) for network in networks)
    print("\n".join(map(_table, (result, *others))))
    if options.attributes:
        against = km.models.predictor(options.against) if options.against else None
        other = evaluate(against, dataset, progress, fill=fill) if against else None
        result.figures.update(_by_attribute(result, other, people, dataset, options.attributes_plot))
    if options.sheet:
        pictures.write(options.sheet, comparison_sheet(networks, dataset, options.sheet_count, fill))
        print(f"the same photos through {len(networks)} model(s): {options.sheet}")
    if others:
        result.figures["others"] = [other.figures for other in others]
    if options.json:
        command.write_text(options.json, json.dumps(result.figures, indent=1) + "\n")
    if options.worst:
        pictures.write(options.worst, contact_sheet(result, dataset))
        print(f"the {len(result.worst)} worst photos: {options.worst}")
    return 0


def _by_attribute(
    result: Result, other: Result | None, people: attributes.People, dataset: data.Dataset, plot: str | None
) -> dict:
    """Print the figures by attribute, and give them as --json writes them: with `people`'s attributes the measured."""
    groups = attributes_report.members(dataset.names, people)
    seen = attributes.measure(dataset, command.progress(f"looking at {dataset.title}"))
    groups |= {a: v for a, v in attributes_report.members(dataset.names, seen).items() if a not in groups}
    facts = attributes_report.report(result.foreground_iou, groups)
    models = {result.figures["model"]: facts["attributes"]}
    if other:
        title = other.figures["model"]
        title += " (2)" if title in models else ""
        compared = {"model": title, "foreground_iou": other.figures["foreground_iou"]}
        compared |= attributes_report.report(other.foreground_iou, groups)
        compared["differences"] = attributes_report.differences(result.foreground_iou, other.foreground_iou, groups)
        models[title] = compared["attributes"]
        facts["compared"] = compared
    print(attributes_report.text(facts, facts.get("compared")))
    missing = sum(attributes.stem_of(name) not in people for name in dataset.names)
    if people and missing:
        print(f"  {missing} of the {len(dataset)} photos are not in the list of attributes.")
    if plot:
        attributes_report.plot(plot, models, f"{dataset.title}, {len(dataset)} photos")
    return facts


def _table(result: Result) -> str:
    figures = result.figures
    low, median = np.percentile(result.image_iou, (5, 50))
    classes = figures["class_iou"]
    without = figures.get("mean_iou_without_background")
    per_image = [("  median image", median), ("  worst twentieth, below", low)]
    rows = [
        ("mean IoU over the classes", figures["mean_iou"]),
        *((f"  {name}", iou) for name, iou in classes.items()),
        *([("  without background", without)] if without is not None else []),
        *(per_image if len(classes) > 2 else []),
        ("pixel accuracy", figures["pixel_accuracy"]),
    ]
    if "background" in classes:
        rows += [("boundary IoU", figures["boundary_iou"]), ("boundary F-score", figures["boundary_f_score"])]
        foreground = [("foreground IoU per image", figures["foreground_iou"])]
        rows = [*foreground, *(per_image if len(classes) == 2 else []), *rows]
    size = "x".join(map(str, figures["input_size"]))
    title = f"{figures['model']} at {size} on {figures['data']}, {figures['images']} images"
    shown = (f"  {name:28s}" + ("  absent" if value is None else f"{value:8.4f}") for name, value in rows)
    return "\n".join([title, *shown])


if __name__ == "__main__":
    command.run(main)
