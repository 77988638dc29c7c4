"""tf.data pipelines: decoded once and cached, augmented in parallel, prefetched, and repeatable to the pixel."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from keras_models.data.augment import Augmentation
from keras_models.data.datasets import Dataset, read_all
from keras_models.data.images import prepare_image, prepare_mask

CACHE_SCALE = 1.5  # photos are kept at up to this multiple of the input size, the largest that augmentation zooms to


def cache(dataset: Dataset, input_size: tuple[int, int], progress: Callable | None = None) -> list:
    """Every (image, labels) decoded, none larger than augmentation can use. UserError names each broken photo."""
    height, width = (round(side * CACHE_SCALE) for side in input_size)

    def shrink(image, labels):
        factor = max(height / image.shape[0], width / image.shape[1])
        if factor < 1:
            size = (round(image.shape[0] * factor), round(image.shape[1] * factor))
            image, labels = prepare_image(image, size), prepare_mask(labels, size)
        return image, labels

    return read_all(dataset, shrink, progress)


def training_batches(
    samples: list,
    input_size: tuple[int, int],
    label_size: tuple[int, int],
    batch_size: int,
    augmentation: Augmentation,
    *,
    seed: int,
    first_epoch: int = 0,
    pairs: bool = False,
    edge_class: int = 0,
):
    """An endless tf.data.Dataset of (images, labels): uint8 (batch, height, width, 3) and (batch, height, width, 1).

    With `pairs` an image has six channels: the warped photo, and the same in other colours. `edge_class` is the width
    in pixels of the band inside the foreground's boundary that becomes the label 2, or 0. An epoch is `len(samples) //
    batch_size` batches. Order and augmentation of epoch e follow from `seed` and e alone, so a run that starts again
    at `first_epoch` sees what it would have seen.
    """
    import tensorflow as tf

    per_epoch = len(samples) // batch_size * batch_size

    def order(epoch):
        return np.random.default_rng((seed, epoch)).permutation(len(samples))[:per_epoch]

    def sample(epoch, index):
        rng = np.random.default_rng((seed, int(epoch), int(index)))
        image, labels = augmentation.warp(*samples[index], input_size, rng)
        coloured = augmentation.recolour(image, rng)
        image = np.concatenate([image, coloured], axis=-1) if pairs else coloured
        return image, subsample(with_edge_class(labels, edge_class), label_size)[..., None]

    def epoch_indices(epoch):
        indices = tf.numpy_function(order, [epoch], tf.int64)
        indices.set_shape([per_epoch])
        return tf.data.Dataset.from_tensor_slices(indices).map(lambda index: (epoch, index))

    def load(epoch, index):
        image, labels = tf.numpy_function(sample, [epoch, index], (tf.uint8, tf.uint8))
        return tf.ensure_shape(image, (*input_size, 6 if pairs else 3)), tf.ensure_shape(labels, (*label_size, 1))

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    dataset = epochs.flat_map(epoch_indices).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def evaluation_batches(
    dataset: Dataset,
    input_size: tuple[int, int],
    label_size: tuple[int, int],
    batch_size: int,
    progress: Callable | None = None,
):
    """A finite tf.data.Dataset of (images, labels), resized and otherwise as they are, kept in memory."""
    import tensorflow as tf

    def convert(image, labels):
        return prepare_image(image, input_size), subsample(prepare_mask(labels, input_size), label_size)[..., None]

    images, labels = zip(*read_all(dataset, convert, progress), strict=True)
    return tf.data.Dataset.from_tensor_slices((np.stack(images), np.stack(labels))).batch(batch_size).prefetch(2)


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
    rows, columns = (np.arange(n) * full // n for n, full in zip(size, labels.shape, strict=True))
    return labels[np.ix_(rows, columns)]
