"""Does the pipeline feed faster than the network trains? `python -m benchmarks.pipeline [MIX.toml]`.

Both are measured in one run: the pipeline with the recipe's augmentation alone, then training steps on one batch that
is already there. Without MIX it is ExtremeC3Net with the paper's recipe at 224x224 on the built-in drawings; with it
PocketNet m at 128x128 on some photos of the mix, drawn by its weights: people pasted, light, noise, blur, JPEG.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import keras
import numpy as np

from benchmarks import machine
from keras_models import build, command, data, registry
from keras_models.command import option
from keras_models.data import pipeline
from keras_models.training.stages import compiled

FEED_IMAGES, TRAIN_STEPS, PHOTOS = 2400, 8, 600


@dataclass(frozen=True)
class PipelineOptions:
    """The command's flags."""

    mix: str | None = option(None, positional=True, metavar="MIX.toml", help="the mix")


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write results/pipeline.json or pipeline-mix.json."""
    mix = command.parse(
        PipelineOptions,
        argv,
        program="python -m benchmarks.pipeline",
        description=__doc__,
        example="python -m benchmarks.pipeline mix.toml",
    ).mix
    if mix is None:
        name, recipe, number, photos = "extremec3", "paper", -1, data.load("drawings").subset(range(200), "drawings")
    else:
        name, recipe, number, photos = "pocketnet_m", "pocket", 1, data.load("mix", mix, "train")
        drawn = np.random.default_rng(0).choice(len(photos), PHOTOS, p=photos.shares)
        photos = photos.subset(dict.fromkeys(drawn.tolist()), f"{PHOTOS} photos of a mix")
    stage = registry.network(name).recipes[recipe].stages[number]
    size = stage.input_size or (224, 224)
    model = build(name, input_size=size)
    samples = pipeline.cache(photos, size, command.progress("reading"), zoom=stage.augmentation.zoom)
    batches = iter(pipeline.training_batches(samples, size, size, stage.batch_size, stage.augmentation, seed=0))
    images, labels = next(batches)
    steps, processor, started = FEED_IMAGES // stage.batch_size, time.process_time(), time.perf_counter()
    for _ in range(steps):
        next(batches)
    feed = stage.batch_size * steps / (time.perf_counter() - started)
    per_photo_ms = 1e3 * (time.process_time() - processor) / (stage.batch_size * steps)
    del batches

    compiled(model, stage, steps=100)
    images, labels = np.asarray(images), np.asarray(labels)
    for _ in range(2):
        model.train_on_batch(images, labels)
    started = time.perf_counter()
    for _ in range(TRAIN_STEPS):
        model.train_on_batch(images, labels)
    train = stage.batch_size * TRAIN_STEPS / (time.perf_counter() - started)
    print(f"pipeline {feed:.0f} images/s, training {train:.1f} images/s, ratio {feed / train:.1f}")
    what = f"{name} {size[0]}x{size[1]}, batch {stage.batch_size}, recipe {recipe}, {photos.title}"
    machine.write(
        "pipeline" if mix is None else "pipeline-mix",
        {
            "protocol": what,
            "backend": keras.backend.backend(),
            "pipeline_images_per_second": round(feed, 1),
            "processor_ms_per_photo": round(per_photo_ms, 2),
            "training_images_per_second": round(train, 1),
        },
    )


if __name__ == "__main__":
    command.run(main)
