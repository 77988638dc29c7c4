"""Does memory grow with the dataset? `python -m benchmarks.memory`.

20,000 photos of 512x512 with masks (64 drawings, linked under as many names) are evaluated, then trained on for a few
steps, at 512x512. What the road holds is measured, so the networks are small: a threshold is evaluated, a single
convolution is trained. Without a limit the decoded photos are 21 GB and the logits of `evaluate` as much.
"""

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import psutil

from benchmarks import machine
from keras_models import command, data, pictures
from keras_models.command import option
from keras_models.data import Augmentation, drawings, pipeline
from keras_models.evaluate import evaluate
from keras_models.models import Predictor

DRAWN, SIDE, STEPS, BATCH = 64, 512, 20, 4
CACHE_BYTES = 10**9


@dataclass(frozen=True)
class MemoryOptions:
    """The command's flags."""

    photos: int = option(20_000, least=DRAWN, help="how many photos")


class Peak:
    """The most memory that this process takes while the block runs, in bytes above `start`."""

    def __init__(self, start: int):
        self.start, self.most, self._done = start, 0, threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.1):
            self.most = max(self.most, process.memory_info().rss - self.start)

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


def make(root: Path, photos: int) -> None:
    """The set in the layout `folder`: `DRAWN` files of each kind, and links to them."""
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for i in range(photos):
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            path = root / kind / f"{i:05d}.{suffix}"
            if i >= DRAWN:
                path.hardlink_to(root / kind / f"{i % DRAWN:05d}.{suffix}")
                continue
            image, labels = drawings.draw(i)
            size = (SIDE, SIDE)
            pictures.write(
                path, data.prepare_image(image, size) if kind == "images" else data.prepare_mask(labels, size) * 255
            )


def _threshold(images):
    return images[..., :1].astype("float32") - 127


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write results/memory.json."""
    options = command.parse(
        MemoryOptions,
        argv,
        program="python -m benchmarks.memory",
        description=__doc__,
        example="python -m benchmarks.memory --photos 5000",
    )
    network = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(1, 1)])
    network.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    names, colors = ("background", "person"), [[0, 0, 0], [40, 200, 90]]
    predictor = Predictor("a threshold", (SIDE, SIDE), _threshold, names, colors)
    warm = data.load("drawings").subset(range(16), "warm")
    evaluate(predictor, warm)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.photos)
        everything, process = data.load("folder", folder, "all"), psutil.Process()
        start, began = process.memory_info().rss, time.perf_counter()
        with Peak(start) as evaluating:
            figures = evaluate(predictor, everything, command.progress("evaluating"), worst=12).figures
        evaluated = time.perf_counter()
        with Peak(start) as training:
            samples = pipeline.cache(everything, (SIDE, SIDE), command.progress("reading"), limit=CACHE_BYTES)
            batches = pipeline.training_batches(samples, (SIDE, SIDE), (SIDE, SIDE), BATCH, Augmentation(), seed=0)
            network.fit(batches, steps_per_epoch=STEPS, verbose=0)
        ended = time.perf_counter()
    assert figures["images"] == len(samples) == options.photos
    protocol = f"{options.photos} photos of {SIDE}x{SIDE}, evaluated, then read once and {STEPS} steps of {BATCH}"
    print(f"evaluated: {evaluating.most / 1e9:.2f} GB above the start, {evaluated - began:.0f} s")
    print(f"trained on: {training.most / 1e9:.2f} GB above the start, {ended - evaluated:.0f} s")
    machine.write(
        "memory",
        {
            "protocol": protocol,
            "backend": keras.backend.backend(),
            "cache_gb": CACHE_BYTES / 1e9,
            "start_gb": round(start / 1e9, 3),
            "evaluation_gb_above_start": round(evaluating.most / 1e9, 3),
            "evaluation_seconds": round(evaluated - began),
            "training_gb_above_start": round(training.most / 1e9, 3),
            "training_seconds": round(ended - evaluated),
        },
    )
    return 0


if __name__ == "__main__":
    command.run(main)
