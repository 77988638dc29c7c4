"""What do refined edges bring, and how wide should the filter look? `python -m benchmarks.edges MODEL,... --sets ...`.

`predict`, the app and the page let the mask's edges follow the photo's own (`masks.guided_filter`) by windows of a
hundredth of the photo's longer side. Here masks are compared with the truth at the photos' own size, as the network
gives them and refined by windows of several sizes. Give photos for validation: a choice is made by them. Writes
results/edges.json.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks import machine, markdown
from benchmarks.sets import SETS, facts, in_words, parse_set
from keras_models import command, data, metrics, models
from keras_models.command import option
from keras_models.data.datasets import Dataset, read_each
from keras_models.masks import WINDOW, foreground, refined

WINDOWS = (0, WINDOW / 2, WINDOW, 2 * WINDOW, 4 * WINDOW)  # of the longer side; 0 leaves the mask as it is
FRAME = (720, 1280)
RUNS = 20


@dataclass(frozen=True)
class EdgesOptions:
    """The command's flags."""

    models: str = option(positional=True, metavar="MODEL[,MODEL...]", help="presets, runs, .keras or .tflite files")
    sets: tuple[str, ...] = option(metavar=SETS, help="photos to measure on, for validation")


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the table."""
    options = command.parse(
        EdgesOptions,
        argv,
        program="python -m benchmarks.edges",
        description=__doc__,
        example="python -m benchmarks.edges pocketnet-m --sets portraits=eg1800:eg1800:val",
    )
    command.load_keras()
    sets = {name: data.load(*where) for name, *where in map(parse_set, options.sets)}
    rows = []
    for source in options.models.split(","):
        predictor = models.predictor(source)
        measured = {
            name: figures(predictor, dataset, command.progress(f"{source} on {name}")) for name, dataset in sets.items()
        }
        rows += [
            {"model": source, "window": window, "sets": {name: found[i] for name, found in measured.items()}}
            for i, window in enumerate(WINDOWS)
        ]
    protocol = {
        "sets": facts(sets),
        "refining_ms": refining_ms(),
        "frame": list(FRAME),
    }
    machine.write("edges", {"protocol": protocol, "rows": rows})
    print(table({"protocol": protocol, "rows": rows, "machine": machine.describe()}))
    return 0


def figures(predictor: models.Predictor, dataset: Dataset, progress=None) -> list[dict]:
    """`foreground_iou` and `boundary_iou` for each of WINDOWS: means over the photos, at the photos' own size."""
    found = []

    def prepared(image: np.ndarray, labels: np.ndarray):
        return image, labels, data.prepare_image(image, predictor.input_size)

    for image, labels, small in read_each(dataset, prepared, progress):
        probability = foreground(predictor.logits(small[None])[0])
        each = (refined(probability, image, window) > 0.5 for window in WINDOWS)
        measured = [metrics.of_photo(labels, mask.astype(np.uint8), 2) for mask in each]
        found.append(measured)
    means = [metrics.mean_figures(photos) for photos in zip(*found, strict=True)]
    return [{key: each[key] for key in ("foreground_iou", "boundary_iou")} for each in means]


def refining_ms() -> float:
    """Median milliseconds of refining the mask of a frame, beyond bringing it to the frame's size."""
    rng = np.random.default_rng(0)
    frame = cv2.resize(rng.integers(0, 256, (45, 80, 3), np.uint8), FRAME[::-1])
    probability = cv2.resize(rng.random((6, 6), np.float32), (192, 192))
    taken = []
    for window in [0, WINDOW] * RUNS:
        started = time.perf_counter()
        refined(probability, frame, window)
        taken.append((time.perf_counter() - started) * 1000)
    plain, with_filter = np.median(np.reshape(taken, (RUNS, 2)), axis=0)
    return float(with_filter - plain)


def table(result: dict) -> str:
    """Foreground IoU and boundary IoU by window."""
    protocol = result["protocol"]
    rows = [
        [
            row["model"],
            f"{100 * row['window']:g} % of the longer side" if row["window"] else "not refined",
            *(f"{100 * f['foreground_iou']:.1f} ({100 * f['boundary_iou']:.1f})" for f in row["sets"].values()),
        ]
        for row in result["rows"]
    ]
    sets = in_words(protocol["sets"])
    height, width = protocol["frame"]
    return markdown.table(["model", "windows", *protocol["sets"]], rows, words=2) + (
        f"\n\nForeground IoU per image at the photos' own size in %, in brackets boundary IoU ({sets}). Refining a "
        f"{width}x{height} frame takes {protocol['refining_ms']:.1f} ms in Python; {markdown.machine(result)}."
    )


if __name__ == "__main__":
    command.run(main)
