"""Does the pipeline feed faster than the network trains? `python -m benchmarks.pipeline`.

Both are measured in one run on the built-in drawings at 224x224: the pipeline with the paper's augmentation alone, then
training steps on one batch that is already there.
"""

import time

import keras
import numpy as np

from benchmarks import machine
from keras_models import build, data, registry
from keras_models.data import Augmentation, pipeline
from keras_models.training.stages import compiled

BATCH, FEED_BATCHES, TRAIN_STEPS = 30, 20, 8


def main() -> None:
    """Measure, print and write results/pipeline.json."""
    model = build("extremec3")
    stage = registry.network("extremec3").recipes["paper"].stages[-1]
    size = model.input_shape[1:3]
    samples = pipeline.cache(data.load("drawings").subset(range(200), "drawings"), size)
    batches = iter(pipeline.training_batches(samples, size, size, BATCH, Augmentation(), seed=0))
    images, labels = next(batches)
    started = time.perf_counter()
    for _ in range(FEED_BATCHES):
        next(batches)
    feed = BATCH * FEED_BATCHES / (time.perf_counter() - started)
    del batches

    compiled(model, stage, steps=100)
    images, labels = np.asarray(images), np.asarray(labels)
    for _ in range(2):
        model.train_on_batch(images, labels)
    started = time.perf_counter()
    for _ in range(TRAIN_STEPS):
        model.train_on_batch(images, labels)
    train = BATCH * TRAIN_STEPS / (time.perf_counter() - started)
    print(f"pipeline {feed:.0f} images/s, training {train:.1f} images/s, ratio {feed / train:.1f}")
    machine.write(
        "pipeline",
        {
            "protocol": f"ExtremeC3Net 224x224, batch {BATCH}, the paper's augmentation and loss, drawings",
            "backend": keras.backend.backend(),
            "pipeline_images_per_second": round(feed, 1),
            "training_images_per_second": round(train, 1),
        },
    )


if __name__ == "__main__":
    main()
