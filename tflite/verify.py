"""Compare a `.tflite` with its float network: `python -m tflite.verify OUT.tflite --against MODEL`.

Both are measured on the same labelled photos. The command is a gate: it ends with 1 when the foreground IoU of the
`.tflite` (the mean IoU on data of more than two classes) is more than `--limit` points below the float network's, and
it writes what it measured into the spec, but into no shipped preset's. `--layers` shows where the loss arises and what
would help, `--interpreters` whether other interpreters give the same masks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models import command, data, pictures
from keras_models.command import UserError, option
from tflite import graph, photos, runtime
from tflite.graph import rewrite
from tflite.measure import interpreters, layers
from tflite.quantize.converter import calibration_inputs

LAYER_IMAGES, INTERPRETER_IMAGES = 8, 32
TILE = (224, 200)  # height and width of a picture's half


@dataclass(frozen=True)
class VerifyOptions:
    """The command's flags."""

    model: str = option(positional=True, metavar="OUT.tflite", help="the converted model")
    against: str = option(metavar="MODEL", help="the float network: preset, run folder or .keras")
    dataset: str | None = option(
        None,
        metavar="KIND",
        help="kind of dataset (default: folder with --data-dir, else what the network was trained on)",
    )
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    split: str = option("val", choices=("train", "val", "test"), help="which split")
    limit: float = option(0.5, metavar="POINTS", help="largest loss of IoU, in points of 100")
    layers: int = option(0, least=0, metavar="N", help="show the N layers that lose most, and what would help")
    interpreters: bool = option(False, help="compare the installed interpreters, with XNNPACK and without")
    tflite_runtime: str | None = option(
        None, metavar="PYTHON", help="with --interpreters: a Python with tflite-runtime"
    )
    json: str | None = option(None, metavar="FILE", writes=(), help="write the figures here as JSON")
    worst: str | None = option(
        None, metavar="FILE.png", writes=command.PICTURES, help="write the images that differ most here, side by side"
    )
    worst_count: int = option(6, least=1, help="images on that picture")


@dataclass
class Differences:
    """How far the logits of two networks are apart, gathered batch by batch."""

    largest: float = 0.0
    total: float = 0.0
    count: int = 0

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        """One batch of logits of both, of equal shape."""
        error = np.abs(found.astype("float32") - expected)
        self.largest = max(self.largest, float(error.max()))
        self.total += float(error.sum())
        self.count += error.size


@dataclass(frozen=True)
class Difference:
    """An image's number, its labels by the float and by the converted network, and the IoU of both."""

    index: int
    masks: tuple[np.ndarray, np.ndarray]
    ious: tuple[float, float]


def compare(
    model: str | Path, against: str | Path, dataset: data.Dataset, progress=None, worst: int = 0
) -> tuple[dict, list[Difference]]:
    """The figures of the comparison, as `--json` writes them, and the `worst` images whose masks differ most.

    UserError when either cannot be used, or when they differ in input size or classes.
    """
    from keras_models import metrics, models
    from keras_models.evaluate import Lowest, Tally, batches, main_figure

    floating, converted = models.predictor(against), models.predictor(model)
    spec = runtime.read_spec(model)
    if floating.input_size != converted.input_size and _has_weights_of(spec, against):
        floating = models.predictor(against, converted.input_size)
    if floating.input_size != converted.input_size:
        raise UserError(
            f"{model} takes {_size(converted.input_size)}, {against} takes {_size(floating.input_size)}: it was made "
            "from another network. Convert again, or name the right one with --against."
        )
    gives_logits = spec is None or spec["output"].get("kind", "logits") == "logits"
    tallies = [Tally(floating, dataset), Tally(converted, dataset)]
    data.require_foreground(dataset)
    differences, agreement, mutual_iou, differing = Differences(), [], [], Lowest(worst)
    for images, labels in batches(dataset, floating.input_size, progress=progress):
        expected, found = floating.logits(images), converted.logits(images)
        if expected.shape != found.shape:
            raise UserError(
                f"{model} gives logits of {list(found.shape[1:])}, {against} of {list(expected.shape[1:])}: it was "
                "made from another network."
            )
        differences.add(expected, found)
        masks = [tally.add(labels, logits) for tally, logits in zip(tallies, (expected, found), strict=True)]
        agreement.extend((masks[0] == masks[1]).mean(axis=(1, 2)))
        first = len(mutual_iou)
        mutual_iou.extend(np.asarray(metrics.foreground_iou_per_image(*masks)))
        for i in range(first, len(mutual_iou)):
            value = agreement[i] if len(dataset.class_names) > 2 else mutual_iou[i]
            ious = tuple(tally.image_iou[i] for tally in tallies)
            differing.add(value, Difference(i, (masks[0][i - first], masks[1][i - first]), ious))
    results = [tally.result() for tally in tallies]
    expected, found = (result.figures for result in results)
    metric = main_figure(len(dataset.class_names))
    figures = {
        "model": str(model),
        "against": str(against),
        "data": dataset.title,
        "images": len(dataset),
        "metric": metric,
        "loss_points": 100 * (expected[metric] - found[metric]),
        "agreement": float(np.mean(agreement)),
        "mutual_iou": float(np.mean(mutual_iou)),
        "largest_logit_error": differences.largest if gives_logits else None,
        "mean_logit_error": differences.total / differences.count if gives_logits else None,
        "float": expected,
        "converted": found,
    }
    return figures, list(differing)


def _size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError, or the ModelError of a file that cannot be run."""
    options = command.parse(
        VerifyOptions,
        argv,
        program="python -m tflite.verify",
        description=__doc__,
        example="python -m tflite.verify portrait.tflite --against extremec3-eg1800 --dataset eg1800 --data-dir eg1800",
    )
    if Path(options.model).suffix != ".tflite":
        raise UserError(f"The first argument is the converted model, a .tflite. Received: {options.model}")
    from keras_models import models

    dataset = photos.labelled(models.find(options.against), options.dataset, options.data_dir, options.split)
    rows = measure_layers(options.model, options.against, dataset) if options.layers else None
    others = compare_interpreters(options.model, dataset, options.tflite_runtime) if options.interpreters else None
    progress = command.progress(f"measuring on {dataset.title}")
    worst = options.worst_count if options.worst else 0
    figures, differing = compare(options.model, options.against, dataset, progress, worst)
    passed = figures["loss_points"] <= options.limit
    print(_table(figures))
    figures |= {"limit": options.limit, "passed": passed}
    if rows is not None:
        figures |= {"layers": rows, "advice": _show_layers(options, rows, figures["loss_points"])}
    if others is not None:
        figures["interpreters"] = others
        print(f"in other interpreters, on {INTERPRETER_IMAGES} of the images:")
        print(interpreters.table(others))
    if options.json:
        command.write_text(options.json, json.dumps(figures, indent=1) + "\n")
    if options.worst:
        pictures.write(options.worst, side_by_side(dataset, differing))
        print(f"float on the left, converted on the right: {options.worst}")
    _record(Path(options.model), figures)
    if not passed:
        print(
            f"FAILED: it loses {figures['loss_points']:.2f} points of {_label(figures['metric'])}; the limit is "
            f"{options.limit:g}."
            + ("" if options.layers else " With --layers 10 this command says where, and what helps.")
        )
        return 1
    print(
        f"passed: a loss of {figures['loss_points']:.2f} points of {_label(figures['metric'])}; the limit is "
        f"{options.limit:g}"
    )
    print(f"next: python -m tflite.benchmark {options.model}")
    return 0


def some_images(dataset: data.Dataset, size: tuple[int, int], count: int) -> np.ndarray:
    """RGB uint8 (n, height, width, 3): up to `count` photos, evenly spread over the dataset, at the size `size`."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    return np.stack([data.prepare_image(dataset.load(int(i))[0], size) for i in chosen])


def _has_weights_of(spec: dict | None, against: str | Path) -> bool:
    """Whether a file with this spec was made from the Keras model `against`, whatever input it was given."""
    from keras_models import models
    from tflite.spec import weights_digest

    return bool(spec) and spec.get("weights_sha256") == weights_digest(models.load(against))


def measure_layers(model: str | Path, against: str | Path, dataset: data.Dataset) -> list[dict]:
    """What `layers.measure` finds in a `.tflite` made from the network `against`, on some photos.

    ModelError when the file was made from another network.
    """
    from keras_models import models

    network = models.load(against, runtime.Segmenter(model).input_size)
    images = some_images(dataset, network.input_shape[1:3], LAYER_IMAGES)
    spec = runtime.read_spec(model) or {"output": {}}
    integer = layers.is_integer(model)
    target = spec.get("target") or "any"
    rewritten = rewrite.rewrite(graph.read(network), images if integer else None, target)
    rewritten = rewrite.give(rewritten, spec["output"].get("kind", "logits"))
    return layers.measure(model, rewritten, list(calibration_inputs(images)))


def compare_interpreters(model: str | Path, dataset: data.Dataset, tflite_runtime: str | None) -> list[dict]:
    """What `interpreters.compare` finds on some photos; ModelError when an interpreter cannot run the model."""
    images = some_images(dataset, runtime.Segmenter(model).input_size, INTERPRETER_IMAGES)
    return interpreters.compare(model, images, interpreters.installed(tflite_runtime))


def _show_layers(options: VerifyOptions, rows: list[dict], loss_points: float) -> list[str]:
    """Prints the layers and gives the advice that follows from them."""
    print(f"what the layers lose, on {LAYER_IMAGES} of the images:")
    print(layers.table(rows, options.layers))
    spec = runtime.read_spec(options.model) or {}
    if spec.get("fine_tuning"):
        print(f"  (it was trained on: part of it is what it learned that {options.against} did not know)")
    advice = layers.advice(rows, spec.get("calibration"), loss_points, options.limit)
    print("what would help:", *advice, sep="\n  - ")
    return advice


def _label(metric: str) -> str:
    return metric.replace("_", " ").replace("iou", "IoU")


def _table(figures: dict) -> str:
    lines = [f"{figures['model']} against {figures['against']} on {figures['data']}, {figures['images']} images"]
    lines.append(f"  {'':26s}   float  converted")
    for key in ("foreground_iou", "mean_iou", "boundary_iou"):
        if figures["float"][key] is not None:
            lines.append(f"  {_label(key):26s}{figures['float'][key]:8.4f}{figures['converted'][key]:11.4f}")
    lines.append(f"  pixels with equal labels  {100 * figures['agreement']:7.2f} %")
    lines.append(f"  IoU of the two masks      {figures['mutual_iou']:8.4f}")
    if figures["mean_logit_error"] is not None:
        mean, largest = figures["mean_logit_error"], figures["largest_logit_error"]
        lines.append(f"  logits differ by          {mean:8.4f} on average, at most {largest:.3f}")
    return "\n".join(lines)


def side_by_side(dataset: data.Dataset, differing: list[Difference]) -> np.ndarray:
    """The images with both their masks as RGB uint8: the float network's on the left."""
    tiles, colors = [], pictures.class_colors(dataset)
    for difference in differing:
        image = dataset.load(difference.index)[0]
        pair = [
            pictures.fit(pictures.overlay(image, data.prepare_mask(mask, image.shape[:2]), colors), TILE)
            for mask in difference.masks
        ]
        text = "{}  IoU {:.3f} / {:.3f}".format(dataset.names[difference.index], *difference.ious)
        tiles.append(pictures.caption(np.hstack(pair), text))
    return pictures.grid(tiles, 3)


def _record(model: Path, figures: dict) -> None:
    """What was measured goes into the spec beside the model, if it has one of its own; a preset keeps its card's."""
    from keras_models import models

    spec = runtime.read_spec(model)
    if spec is None or models.is_shipped(model):
        return
    spec["accuracy"] = {
        "data": figures["data"],
        "images": figures["images"],
        "foreground_iou": figures["converted"]["foreground_iou"],
        "mean_iou": figures["converted"]["mean_iou"],
        "boundary_iou": figures["converted"]["boundary_iou"],
        "float_foreground_iou": figures["float"]["foreground_iou"],
    }
    command.write_text(model.with_suffix(".json"), json.dumps(spec, indent=1) + "\n")


if __name__ == "__main__":
    command.run(main)
