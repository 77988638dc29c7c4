"""Batches for training and measuring: kept as far as memory goes, augmented in parallel, repeatable to the pixel.

TensorFlow gets a `tf.data.Dataset`, JAX and PyTorch a `keras.utils.PyDataset` with the same photos.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil

from keras_models.command import UserError
from keras_models.data.augment import Augmentation
from keras_models.data.datasets import Dataset, in_order, read_each
from keras_models.data.images import prepare_image, prepare_mask


class Samples:
    """The (image, labels) of a dataset as `convert` makes them of each photo and its labels.

    The first ones stay in memory, up to `limit` bytes (default: a quarter of the memory that is free); the others are
    read again whenever they are asked for. Making it reads every photo once: UserError names each broken one.
    `label_counts`: int64 (256,), pixels of each label. `shares`: see `Dataset`. `failure`: why a photo could not be
    read again, if that was so; TensorFlow's own error does not say it.
    """

    def __init__(self, dataset: Dataset, convert: Callable, limit: int | None = None, progress: Callable | None = None):
        self._dataset, self._convert, self._kept = dataset, convert, []
        self.failure: UserError | None = None
        self.label_counts, self.shares = np.zeros(256, np.int64), dataset.shares
        room, full = free_memory() // 4 if limit is None else limit, False
        for image, labels in read_each(dataset, convert, progress):
            self.label_counts += np.bincount(labels.ravel(), minlength=256)
            room -= image.nbytes + labels.nbytes
            full = full or room < 0
            if not full:
                self._kept.append((image, labels))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        if i < len(self._kept):
            return self._kept[i]
        try:
            return self._convert(*self._dataset.load(i))
        except UserError as error:
            self.failure = error
            raise


def free_memory() -> int:
    """Bytes of memory that this process can still take: the machine's, or less where its container has a limit."""
    free = psutil.virtual_memory().available
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    try:
        most, taken = (int(path.read_text(encoding="utf-8")) for path in (limit, used))
        return max(0, min(free, most - taken))
    except (OSError, ValueError):
        return free


def cache(
    dataset: Dataset,
    input_size: tuple[int, int],
    progress: Callable | None = None,
    *,
    zoom: float = Augmentation().zoom,
    limit: int | None = None,
) -> Samples:
    """Every photo and its labels, none larger than augmentation can use: `zoom` times the input, see `Augmentation`.

    `limit`: bytes to keep in memory, see `Samples`. UserError names each broken photo.
    """
    height, width = (round(side * zoom) for side in input_size)

    def shrink(image, labels):
        factor = max(height / image.shape[0], width / image.shape[1])
        if factor < 1:
            size = (round(image.shape[0] * factor), round(image.shape[1] * factor))
            image, labels = prepare_image(image, size), prepare_mask(labels, size)
        return image, labels

    return Samples(dataset, shrink, limit, progress)


class Order:
    """Which photos an epoch shows, in which order: `steps` batches, from `seed` and the epoch's number alone.

    Every photo once, or where the samples have `shares`, as many photos drawn by those.
    """

    def __init__(self, samples: Samples | list, batch_size: int, seed: int):
        self.steps, self._count, self._seed = len(samples) // batch_size, len(samples), seed
        self._length, self._shares = self.steps * batch_size, getattr(samples, "shares", None)
        self._cumulated = None if self._shares is None else np.cumsum(self._shares)
        self._last = None, None

    def epoch(self, number: int) -> np.ndarray:
        """Indices of the epoch's photos, int64 (steps * batch_size,)."""
        known, order = self._last
        if known != number:
            rng = np.random.default_rng((self._seed, number))
            if self._shares is None:
                order = rng.permutation(self._count)[: self._length]
            else:
                order = rng.choice(self._count, self._length, p=self._shares)
            self._last = number, order  # every batch of the epoch asks
        return order

    def others(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Indices of `count` photos more, drawn alike."""
        if self._cumulated is None:
            return rng.integers(self._count, size=count)
        return np.minimum(np.searchsorted(self._cumulated, rng.random(count)), self._count - 1)


def training_batches(
    samples: Samples | list,
    input_size: tuple[int, int],
    label_size: tuple[int, int],
    batch_size: int,
    augmentation: Augmentation,
    *,
    seed: int,
    first_epoch: int = 0,
    pairs: bool = False,
    edge_class: int = 0,
    heads: int = 1,
    teacher: Callable[[np.ndarray], np.ndarray] | None = None,
    share: tuple[int, int] = (0, 1),
):
    """Endless batches of (images, labels): uint8 (batch, height, width, 3) and (batch, height, width, 1).

    With `pairs` an image has six channels: the warped photo, and the same in other colours. `edge_class` is the width
    in pixels of the band inside the foreground's boundary that becomes the label 2, or 0. With `heads` above 1 the
    labels come as often, one for each output of a model; with a `teacher` the last are its logits, float32 (batch,
    height, width, channels), for the images that the model sees. `Order` says what an epoch is. Order and augmentation
    of epoch e follow from `seed` and e alone, on every backend, so a run that starts again at `first_epoch` sees what
    it would have seen.
    `share`: number and count of the processes that divide each batch among them (not on TensorFlow).
    """
    order = Order(samples, batch_size, seed)
    steps = order.steps

    def another(rng):
        return samples[int(order.others(rng, 1)[0])]

    def sample(epoch, place, index):
        rng = np.random.default_rng((seed, int(epoch), int(place)))
        image, labels = augmentation.warp(*samples[index], input_size, rng)
        image, labels = augmentation.compose(image, labels, lambda: another(rng), input_size, rng)
        coloured = augmentation.recolour(image, rng)
        image = np.concatenate([image, coloured], axis=-1) if pairs else coloured
        return image, subsample(with_edge_class(labels, edge_class), label_size)[..., None]

    def batch(number):
        epoch, step = first_epoch + number // steps, number % steps
        part, (number, _) = batch_size // share[1], share
        places = range(step * batch_size + number * part, step * batch_size + (number + 1) * part)
        chosen = zip(places, order.epoch(epoch)[places.start : places.stop], strict=True)
        images, labels = (np.stack(part) for part in zip(*(sample(epoch, *i) for i in chosen), strict=True))
        return images, targets(images, labels, heads, teacher)

    if _backend() != "tensorflow":
        return py_dataset(batch, None)

    import tensorflow as tf

    def epoch_indices(epoch):
        indices = tf.numpy_function(order.epoch, [epoch], tf.int64)
        indices.set_shape([steps * batch_size])
        indices = tf.data.Dataset.from_tensor_slices(indices).enumerate()
        return indices.map(lambda place, index: (epoch, place, index))

    def load(epoch, place, index):
        image, labels = tf.numpy_function(sample, [epoch, place, index], (tf.uint8, tf.uint8))
        labels = tf.ensure_shape(labels, (*label_size, 1))
        image = tf.ensure_shape(image, (*input_size, 6 if pairs else 3))
        return image, labels

    if teacher:
        taught = teacher(np.zeros((1, *input_size, 3), np.uint8)).shape[1:]

    def logits(images):
        return tf.ensure_shape(tf.numpy_function(teacher, [images], tf.float32), (batch_size, *taught))

    def learned(images, labels):
        return images, targets(images, labels, heads, teacher and logits)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    dataset = epochs.flat_map(epoch_indices).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=True).map(learned).prefetch(2)


def targets(images, labels, heads: int, teacher: Callable | None):
    """What a model of so many outputs learns of a batch: see `training_batches`."""
    if teacher:
        return (*(labels,) * (heads - 1), teacher(images[..., -3:]))
    return labels if heads == 1 else (labels,) * heads


def evaluation_batches(
    dataset: Dataset,
    input_size: tuple[int, int],
    label_size: tuple[int, int],
    batch_size: int,
    progress: Callable | None = None,
    *,
    limit: int | None = None,
):
    """A finite keras.utils.PyDataset of (images, labels), resized and otherwise as they are; `limit`: see `Samples`."""

    def convert(image, labels):
        return prepare_image(image, input_size), subsample(prepare_mask(labels, input_size), label_size)[..., None]

    samples = Samples(dataset, convert, limit, progress)

    def batch(number):
        chosen = range(number * batch_size, min((number + 1) * batch_size, len(samples)))
        return tuple(np.stack(part) for part in zip(*(samples[i] for i in chosen), strict=True))

    return py_dataset(batch, -(-len(samples) // batch_size))


def _backend() -> str:
    import keras

    return keras.backend.backend()


def py_dataset(batch: Callable[[int], tuple], count: int | None):
    """A keras.utils.PyDataset of `batch(0)` to `batch(count - 1)`, endless without `count`, made ahead in threads."""
    import keras

    class Batches(keras.utils.PyDataset):
        num_batches = count

        def __getitem__(self, number):
            return batch(number)

        def __iter__(self):
            return in_order(batch, count) if count is not None else super().__iter__()

    return Batches(workers=max(2, os.cpu_count() or 1), max_queue_size=4)


def with_edge_class(labels: np.ndarray, width: int) -> np.ndarray:
    """Labels 0 and 1 with 2 for the foreground within `width` pixels of background, as EOAM's three classes are."""
    if not width:
        return labels
    inside = cv2.erode((labels > 0).astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1), np.uint8))
    return np.where((labels == 1) & (inside == 0), 2, labels).astype(np.uint8)


def subsample(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels at an output smaller than the input: the nearest pixel, as PyTorch's nearest interpolation picks it."""
    if labels.shape == tuple(size):
        return labels
    return labels[np.ix_(*subsampled(size, labels.shape))]


def subsampled(size: tuple[int, int], full: tuple[int, int]) -> list[np.ndarray]:
    """The rows and the columns of labels at `full` that `subsample` keeps."""
    return [np.arange(n) * of // n for n, of in zip(size, full, strict=True)]
