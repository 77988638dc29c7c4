"""How good masks are, on TensorFlow, JAX and PyTorch: pure functions of label masks, and `keras.Metric`s of logits.

The functions take `labels` (the truth) and `predictions`, (images, height, width) or (images, height, width, 1),
anything that converts to a tensor. The metrics take what Keras hands them: `y_true`, labels as above, and `y_pred`,
logits (images, height, width, channels); they gather batch by batch, and no photo stays in memory. Pixels whose label
is `ignore_label` count for nothing. Foreground is every label other than 0. Results are fractions of 1. The portrait
papers' "mIoU" is `foreground_iou`, not `mean_iou`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import keras
import numpy as np
from keras import ops

from keras_models.losses import dilate

_WORD = 1 << 16
_PARTS = 1 << 24  # a fraction is summed as this many parts, as fine as float32 near 1


def predicted_labels(logits, classes: int | None = None):
    """Labels int32 (images, height, width) of logits: the largest of several, foreground above 0 of a single one.

    `classes`: of the data. Of two, what a network knows beyond them (EOAM's edge) is foreground; of more, void is none.
    """
    if classes is not None:
        logits = without_void(logits, classes)
    if logits.shape[-1] == 1:
        return ops.cast(logits[..., 0] > 0, "int32")
    labels = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return ops.minimum(labels, 1) if classes == 2 else labels


def without_void(logits, classes: int):
    """Logits (..., channels) of data of `classes` classes without the channel of void that some networks have last.

    Of two classes or fewer every channel stays: what is no background is foreground.
    """
    return logits[..., :classes] if classes > 2 else logits


def foreground_iou(labels, predictions, ignore_label: int | None = 255):
    """The mean over the images of `foreground_iou_per_image`: what the portrait papers call mIoU."""
    return ops.mean(foreground_iou_per_image(labels, predictions, ignore_label))


def foreground_iou_per_image(labels, predictions, ignore_label: int | None = 255):
    """(images,): intersection over union of the foregrounds; 1 where both are empty, 0 where one is."""
    truth, predicted, kept = _foregrounds(labels, predictions, ignore_label)
    return _iou(truth * kept, predicted * kept)


def confusion_matrix(labels, predictions, classes: int, ignore_label: int | None = 255):
    """(classes, classes) int32: pixels of true class (row) and predicted class (column), summed over the images.

    Both masks hold 0 to `classes` - 1, and `labels` may hold `ignore_label`. Give it batches, below 2^31
    pixels, and sum their matrices in 64 bits.
    """
    labels, predictions, kept = _prepare(labels, predictions, ignore_label)
    cells = ops.where(kept, labels * classes + predictions, 0)
    counts = ops.segment_sum(
        ops.reshape(ops.cast(kept, "int32"), (-1,)), ops.reshape(cells, (-1,)), num_segments=classes * classes
    )
    return ops.reshape(counts, (classes, classes))


def class_iou(confusion):
    """(classes,): IoU of each class from a `confusion_matrix`; NaN for a class that neither mask has."""
    intersection, union = _class_overlap(confusion)
    return ops.where(union > 0, intersection / ops.maximum(union, 1), float("nan"))


def mean_iou(confusion):
    """The mean of `class_iou` over the classes that truth or prediction has; NaN when there is none."""
    intersection, union = _class_overlap(confusion)
    present = ops.cast(union > 0, "float32")
    return ops.sum(intersection / ops.maximum(union, 1)) / ops.sum(present)


def pixel_accuracy(confusion):
    """Share of the pixels whose class is right, from a `confusion_matrix`; NaN when it is empty."""
    confusion = ops.cast(confusion, "float32")
    return ops.sum(ops.diagonal(confusion)) / ops.sum(confusion)


def boundary_iou(labels, predictions, width: float = 0.02, ignore_label: int | None = 255):
    """The mean over the images of `boundary_iou_per_image`."""
    return ops.mean(boundary_iou_per_image(labels, predictions, width, ignore_label))


def boundary_iou_per_image(labels, predictions, width: float = 0.02, ignore_label: int | None = 255):
    """(images,): Boundary IoU (Cheng et al. 2021) of the foregrounds.

    It is the IoU of the two masks' inner bands: the foreground within `width` times the image's diagonal (at least one
    pixel) of a background pixel or of the image's border. 1 where both bands are empty.
    """
    truth, predicted, kept = _foregrounds(labels, predictions, ignore_label)
    radius = max(1, round(width * _diagonal(truth)))
    # An ignored pixel makes no boundary: it counts as foreground when the foregrounds are eroded.
    truth, predicted = (
        mask * dilate(_surround(1 - ops.maximum(mask, 1 - kept)), 2 * radius + 1)[:, 1:-1, 1:-1] * kept
        for mask in (truth, predicted)
    )
    return _iou(truth, predicted)


def boundary_f_score(labels, predictions, tolerance: float = 0.0075, ignore_label: int | None = 255):
    """The mean over the images of `boundary_f_score_per_image`."""
    return ops.mean(boundary_f_score_per_image(labels, predictions, tolerance, ignore_label))


def boundary_f_score_per_image(labels, predictions, tolerance: float = 0.0075, ignore_label: int | None = 255):
    """(images,): F-score of the foregrounds' contours (Csurka et al. 2013).

    The contour is the foreground pixels that touch a background pixel; the image's border makes none. A contour pixel
    is matched when the other contour passes within `tolerance` times the image's diagonal (at least one pixel), counted
    along rows and columns. F is the harmonic mean of the matched shares of both contours: 1 where neither mask has a
    contour, 0 where only one has.
    """
    truth, predicted, kept = _foregrounds(labels, predictions, ignore_label)
    reach = 2 * max(1, round(tolerance * _diagonal(truth))) + 1
    truth, predicted = (mask * dilate(1 - ops.maximum(mask, 1 - kept), 3) * kept for mask in (truth, predicted))
    matched = _total(predicted * dilate(truth, reach)), _total(truth * dilate(predicted, reach))
    precision, recall = (
        found / ops.maximum(_total(contour), 1) for found, contour in zip(matched, (predicted, truth), strict=True)
    )
    score = 2 * precision * recall / ops.maximum(precision + recall, 1e-9)
    neither = ops.logical_and(_total(truth) == 0, _total(predicted) == 0)
    return ops.where(neither, 1.0, score)


def flicker(masks):
    """How much a video's masks (frames, height, width) flicker: 0 for steady or steadily moving ones.

    A pixel flickers in a frame when its foreground differs from that of the frame before and of the frame after, which
    agree; the share is that of all pixels that are foreground in one of the three. ValueError below three frames.
    """
    masks = ops.cast(ops.cast(masks, "int32") != 0, "float32")
    if masks.shape[0] < 3:
        raise ValueError(f"Flicker needs at least three frames. Received: {masks.shape[0]}")
    before, now, after = masks[:-2], masks[1:-1], masks[2:]
    flickering = ops.sum((1 - ops.abs(before - after)) * ops.abs(now - before))
    return flickering / ops.maximum(ops.sum(ops.maximum(ops.maximum(before, now), after)), 1)


@dataclass(frozen=True)
class PhotoFigures:
    """What one photo's masks give: `foreground_iou`, `boundary_iou`, `boundary_f_score`, and its confusion matrix.

    The two of the boundary are None where void lies along more than half of the true one, as in Pascal VOC, whose
    objects all have a rim of it. `confusion` is int64 (classes, classes).
    """

    foreground_iou: float
    boundary_iou: float | None
    boundary_f_score: float | None
    confusion: np.ndarray


def mean_figures(photos: Sequence[PhotoFigures]) -> dict[str, float | None]:
    """The means of `foreground_iou`, `boundary_iou` and `boundary_f_score` over the photos that have them, or None."""
    means = {}
    for name in ("foreground_iou", "boundary_iou", "boundary_f_score"):
        known = [value for photo in photos if (value := getattr(photo, name)) is not None]
        means[name] = float(np.mean(known)) if known else None
    return means


def of_photo(labels: np.ndarray, predictions: np.ndarray, classes: int, ignore_label: int = 255) -> PhotoFigures:
    """The figures of uint8 masks (height, width): the functions above by OpenCV, for thousands of photos.

    On tensors the wide bands of a large photo take thirty times as long.
    """
    kept = labels != ignore_label
    masks = [(mask != 0) & kept for mask in (labels, predictions)]
    backgrounds = [(kept & ~mask).astype(np.uint8) for mask in masks]
    diagonal = float(np.hypot(*labels.shape))
    radius, reach = max(1, round(0.02 * diagonal)), max(1, round(0.0075 * diagonal))
    bands = [
        mask & (_spread(cv2.copyMakeBorder(background, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1), radius)[1:-1, 1:-1])
        for mask, background in zip(masks, backgrounds, strict=True)
    ]
    truth, found = (mask & _spread(background, 1) for mask, background in zip(masks, backgrounds, strict=True))
    rim = masks[0] & _spread((~masks[0]).astype(np.uint8), 1)
    measurable = 2 * truth.sum() >= rim.sum()
    precision = (found & _spread(truth.astype(np.uint8), reach)).sum() / max(1, found.sum())
    recall = (truth & _spread(found.astype(np.uint8), reach)).sum() / max(1, truth.sum())
    score = 2 * precision * recall / max(precision + recall, 1e-9) if truth.any() or found.any() else 1.0
    cells = labels[kept].astype(np.int32) * classes + predictions[kept]
    confusion = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
    boundary = (_overlap(*bands), float(score)) if measurable else (None, None)
    return PhotoFigures(_overlap(*masks), *boundary, confusion)


def _spread(mask: np.ndarray, radius: int) -> np.ndarray:
    return cv2.dilate(mask, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 0


def _overlap(truth: np.ndarray, predicted: np.ndarray) -> float:
    union = np.count_nonzero(truth | predicted)
    return np.count_nonzero(truth & predicted) / union if union else 1.0


class _Streaming(keras.metrics.Metric):
    """Sums whole numbers of int32 `cells` over the images, exactly, up to 2^47.

    Two 32-bit words make a sum: int32 is full after 2^31 pixels, float32 forgets single ones after 2^24, and JAX has no
    more than 32 bits unless asked.
    """

    def __init__(self, cells: tuple[int, ...], ignore_label: int | None, name: str, **options):
        super().__init__(name=name, **options)
        self.ignore_label = ignore_label
        self.low, self.high = (self.add_variable(cells, "zeros", "int32", name=word) for word in ("low", "high"))

    def _add(self, values) -> None:
        """Add int32 (images, *cells), each from 0 to 2^31 - 1, of at most 2^15 images."""
        low = self.low + ops.sum(values % _WORD, axis=0)
        self.high.assign(self.high + ops.sum(values // _WORD, axis=0) + low // _WORD)
        self.low.assign(low % _WORD)

    def sums(self):
        """The sums as float32 of the shape `cells`."""
        return ops.cast(self.high, "float32") * _WORD + ops.cast(self.low, "float32")

    def get_config(self) -> dict:
        return {**super().get_config(), "ignore_label": self.ignore_label}


class _MeanOverImages(_Streaming):
    """The mean over the images of a fraction that `_per_image(labels, predictions)` gives for each."""

    def __init__(self, name: str, ignore_label: int | None = 255, **options):
        super().__init__((2,), ignore_label, name, **options)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch of labels and logits. ValueError for weights."""
        _refuse_weights(self, sample_weight)
        fractions = self._per_image(y_true, predicted_labels(y_pred))
        parts = ops.cast(ops.round(fractions * _PARTS), "int32")
        self._add(ops.stack([parts, ops.ones_like(parts)], axis=-1))

    def result(self):
        total, images = ops.unstack(self.sums())
        return total / _PARTS / ops.maximum(images, 1)


@keras.saving.register_keras_serializable("keras_models")
class ForegroundIoU(_MeanOverImages):
    """`foreground_iou` of all images seen."""

    def __init__(self, name: str = "foreground_iou", **options):
        super().__init__(name, **options)

    def _per_image(self, labels, predictions):
        return foreground_iou_per_image(labels, predictions, self.ignore_label)


@keras.saving.register_keras_serializable("keras_models")
class BoundaryIoU(_MeanOverImages):
    """`boundary_iou` of all images seen."""

    def __init__(self, width: float = 0.02, name: str = "boundary_iou", **options):
        super().__init__(name, **options)
        self.width = width

    def _per_image(self, labels, predictions):
        return boundary_iou_per_image(labels, predictions, self.width, self.ignore_label)

    def get_config(self) -> dict:
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("keras_models")
class BoundaryFScore(_MeanOverImages):
    """`boundary_f_score` of all images seen."""

    def __init__(self, tolerance: float = 0.0075, name: str = "boundary_f_score", **options):
        super().__init__(name, **options)
        self.tolerance = tolerance

    def _per_image(self, labels, predictions):
        return boundary_f_score_per_image(labels, predictions, self.tolerance, self.ignore_label)

    def get_config(self) -> dict:
        return {**super().get_config(), "tolerance": self.tolerance}


@keras.saving.register_keras_serializable("keras_models")
class MeanIoU(_Streaming):
    """`mean_iou` of the confusion matrix of all images seen; of two classes, every one but 0 is foreground."""

    def __init__(self, classes: int, ignore_label: int | None = 255, name: str = "mean_iou", **options):
        super().__init__((classes, classes), ignore_label, name, **options)
        self.classes = classes

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch of labels and logits, below 2^31 pixels. ValueError for weights."""
        _refuse_weights(self, sample_weight)
        labels, predictions, kept = _prepare(y_true, predicted_labels(y_pred), self.ignore_label)
        if self.classes == 2:
            labels, predictions = (ops.minimum(x, 1) for x in (labels, predictions))
        labels = ops.where(kept, labels, -1)
        self._add(confusion_matrix(labels, predictions, self.classes, ignore_label=-1)[None])

    def result(self):
        return mean_iou(self.sums())

    def get_config(self) -> dict:
        return {**super().get_config(), "classes": self.classes}


def _refuse_weights(metric: keras.Metric, weights) -> None:
    if weights is not None:
        raise ValueError(f"{metric.name} counts every image alike; it takes no sample_weight.")


def _prepare(labels, predictions, ignore_label):
    """Both as int32 (images, height, width), and which pixels count."""
    labels, predictions = (ops.cast(ops.convert_to_tensor(x), "int32") for x in (labels, predictions))
    labels, predictions = (x[..., 0] if len(x.shape) == 4 else x for x in (labels, predictions))
    if len(labels.shape) != 3 or tuple(labels.shape) != tuple(predictions.shape):
        raise ValueError(
            "Labels and predictions must be masks of the same shape (images, height, width). "
            f"Received: {tuple(labels.shape)} and {tuple(predictions.shape)}"
        )
    kept = ops.ones_like(labels, dtype="bool") if ignore_label is None else labels != ignore_label
    return labels, predictions, kept


def _foregrounds(labels, predictions, ignore_label):
    """True and predicted foreground, and the pixels that count: float32 (images, height, width, 1) of 0 and 1."""
    labels, predictions, kept = _prepare(labels, predictions, ignore_label)
    return tuple(ops.cast(x, "float32")[..., None] for x in (labels != 0, predictions != 0, kept))


def _total(mask):
    return ops.sum(mask, axis=(1, 2, 3))


def _iou(truth, predicted):
    intersection, union = _total(truth * predicted), _total(ops.maximum(truth, predicted))
    return ops.where(union > 0, intersection / ops.maximum(union, 1), 1.0)


def _class_overlap(confusion):
    confusion = ops.cast(confusion, "float32")
    intersection = ops.diagonal(confusion)
    return intersection, ops.sum(confusion, axis=0) + ops.sum(confusion, axis=1) - intersection


def _diagonal(mask) -> float:
    return (mask.shape[1] ** 2 + mask.shape[2] ** 2) ** 0.5


def _surround(mask):
    """`mask` with one pixel of ones on each side."""
    return ops.pad(mask, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
