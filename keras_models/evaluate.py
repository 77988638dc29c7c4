"""Measure a network on labelled photos: `python -m keras_models.evaluate extremec3-eg1800 --dataset eg1800 ...`.

MODEL is a run folder, a preset's name, a `.keras` or a `.tflite` file. Everything is measured at the network's input
size: the photo resized bilinearly without keeping its aspect ratio, the mask by nearest neighbour, as the papers do.
`foreground_iou` is the portrait papers' "mIoU": the foreground's IoU of each photo, averaged over the photos.
`mean_iou` is the mean over the classes of the IoU of the summed confusion matrix.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models import command, data, metrics, pictures
from keras_models.command import UserError, option
from keras_models.data.datasets import read_each
from keras_models.data.pipeline import subsample
from keras_models.models import Predictor, find, predictor


@dataclass(frozen=True)
class EvaluateOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="MODEL", help="run folder, preset, .keras or .tflite")
    dataset: str | None = option(
        None, choices=data.dataset_names(), help="kind of dataset (default: folder with --data-dir, else drawings)"
    )
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    split: str = option("test", choices=("train", "val", "test"), help="which split")
    json: str | None = option(None, metavar="FILE", help="write the figures here as JSON")
    worst: str | None = option(None, metavar="FILE.png", help="write a contact sheet of the worst photos here")
    worst_count: int = option(12, help="photos on the contact sheet")


@dataclass(frozen=True)
class Result:
    """What was measured: figures as fractions of 1, and per photo its name, IoU, true and predicted labels.

    `image_iou` is the foreground's IoU, or the mean over the classes of the photo when there are more than two.
    """

    figures: dict
    names: tuple[str, ...]
    image_iou: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray


def evaluate(
    network: Predictor, dataset: data.Dataset, progress: Callable | None = None, batch_size: int = 16
) -> Result:
    """Run `network` over `dataset` and measure. UserError names every photo that cannot be read.

    On data of background and foreground, every class of the network but the first is foreground. On data of more
    classes the network must have the same ones.
    """
    classes = len(dataset.class_names)
    if classes > 2 and len(network.class_names) != classes:
        raise UserError(
            f"{network.name} has {len(network.class_names)} classes ({_listed(network.class_names)}), "
            f"{dataset.title} has {classes} ({_listed(dataset.class_names)}). Train a network on this kind of data."
        )
    labels, predictions = [], []
    samples = list(read_each(dataset, lambda i, m: (data.prepare_image(i, network.input_size), m)))
    for start in range(0, len(samples), batch_size):
        batch = samples[start : start + batch_size]
        logits = network.logits(np.stack([image for image, _ in batch]))
        size = logits.shape[1:3]
        predictions.append(np.asarray(metrics.predicted_labels(logits), np.uint8))
        labels += [subsample(data.prepare_mask(mask, network.input_size), size) for _, mask in batch]
        if progress:
            progress(min(start + batch_size, len(samples)), len(samples))
    labels, predictions = np.stack(labels), np.concatenate(predictions)
    if classes == 2:
        predictions = np.minimum(predictions, 1)
    foreground_iou = np.asarray(metrics.foreground_iou_per_image(labels, predictions))
    confusion = metrics.confusion_matrix(labels, predictions, classes)
    class_iou = [None if np.isnan(iou) else float(iou) for iou in np.asarray(metrics.class_iou(confusion))]
    figures = {
        "model": network.name,
        "data": dataset.title,
        "images": len(dataset),
        "input_size": list(network.input_size),
        "foreground_iou": float(foreground_iou.mean()),
        "mean_iou": float(metrics.mean_iou(confusion)),
        "pixel_accuracy": float(metrics.pixel_accuracy(confusion)),
        "boundary_iou": float(metrics.boundary_iou(labels, predictions)),
        "boundary_f_score": float(metrics.boundary_f_score(labels, predictions)),
        "class_iou": dict(zip(dataset.class_names, class_iou, strict=True)),
    }
    image_iou = foreground_iou
    if classes > 2:
        pairs = zip(labels, predictions, strict=True)
        image_iou = np.array([metrics.mean_iou(metrics.confusion_matrix(t[None], p[None], classes)) for t, p in pairs])
    return Result(figures, dataset.names, image_iou, labels, predictions)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def contact_sheet(result: Result, dataset: data.Dataset, count: int, columns: int = 4) -> np.ndarray:
    """The `count` photos of lowest IoU as RGB uint8: the truth on the left, the prediction on the right."""
    tiles, colors = [], pictures.class_colors(dataset)
    for i in np.argsort(result.image_iou)[:count]:
        image = dataset.load(int(i))[0]
        pair = [
            pictures.fit(pictures.overlay(image, data.prepare_mask(labels[i], image.shape[:2]), colors), (224, 200))
            for labels in (result.labels, result.predictions)
        ]
        tiles.append(pictures.caption(np.hstack(pair), f"{result.names[i]}  IoU {result.image_iou[i]:.3f}"))
    return pictures.grid(tiles, columns)


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        EvaluateOptions,
        argv,
        program="python -m keras_models.evaluate",
        description=__doc__,
        example="python -m keras_models.evaluate runs/extremec3-20260101-120000 --dataset eg1800 --data-dir eg1800",
    )
    name = options.dataset or ("folder" if options.data_dir else "drawings")
    if Path(options.model).suffix != ".tflite":
        find(options.model)
    dataset = data.load(name, options.data_dir, options.split)
    result = evaluate(predictor(options.model), dataset, command.progress(f"measuring on {dataset.title}"))
    print(_table(result))
    if options.json:
        command.write_text(options.json, json.dumps(result.figures, indent=1) + "\n")
    if options.worst:
        pictures.write(options.worst, contact_sheet(result, dataset, options.worst_count))
        print(f"the {min(options.worst_count, len(dataset))} worst photos: {options.worst}")
    return 0


def _table(result: Result) -> str:
    figures = result.figures
    low, median = np.percentile(result.image_iou, (5, 50))
    classes = figures["class_iou"]
    per_image = [("  median image", median), ("  worst twentieth, below", low)]
    rows = [
        ("mean IoU over the classes", figures["mean_iou"]),
        *((f"  {name}", iou) for name, iou in classes.items()),
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
