"""How good masks are: pure functions of integer label masks, on TensorFlow, JAX and PyTorch.

`labels` (the truth) and `predictions` are (images, height, width) or (images, height, width, 1), anything that converts
to a tensor. Pixels whose label is `ignore_label` count for nothing. Foreground is every label other than 0. Results are
fractions of 1. The portrait papers' "mIoU" is `foreground_iou`, not `mean_iou`.
"""

from __future__ import annotations

from keras import ops

from keras_models.losses import dilate


def predicted_labels(logits):
    """Labels int32 (images, height, width) of logits: the largest of several, foreground above 0 of a single one."""
    if logits.shape[-1] == 1:
        return ops.cast(logits[..., 0] > 0, "int32")
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def foreground_iou(labels, predictions, ignore_label: int | None = 255):
    """The mean over the images of `foreground_iou_per_image`: what the portrait papers call mIoU."""
    return ops.mean(foreground_iou_per_image(labels, predictions, ignore_label))


def foreground_iou_per_image(labels, predictions, ignore_label: int | None = 255):
    """(images,): intersection over union of the foregrounds; 1 where both are empty, 0 where one is."""
    truth, predicted, kept = _foregrounds(labels, predictions, ignore_label)
    return _iou(truth * kept, predicted * kept)


def confusion_matrix(labels, predictions, classes: int, ignore_label: int | None = 255):
    """(classes, classes) int32: pixels of true class (row) and predicted class (column), summed over the images.

    Both masks hold 0 to `classes` - 1, and `labels` may hold `ignore_label`. Sum the matrices of several batches.
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
    """Boundary IoU (Cheng et al. 2021) of the foregrounds, per image and averaged.

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
    return ops.mean(_iou(truth, predicted))


def boundary_f_score(labels, predictions, tolerance: float = 0.0075, ignore_label: int | None = 255):
    """F-score of the foregrounds' contours (Csurka et al. 2013), per image and averaged.

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
    return ops.mean(ops.where(neither, 1.0, score))


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
