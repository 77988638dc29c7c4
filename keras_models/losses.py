"""Losses for segmentation, on logits, with `keras.ops` alone (TensorFlow, JAX and PyTorch).

Every loss is a function of Keras' `(y_true, y_pred)` and an object for `compile`: `cross_entropy` and `CrossEntropy()`,
whose options are the function's. `y_true` are integer labels (batch, height, width) or (batch, height, width, 1),
`y_pred` logits (batch, height, width, channels); the result is a float32 scalar, the batch's. One channel means
foreground against background: labels 0 and 1, foreground where the logit is positive. Several channels mean one class
each. Pixels of `ignore_label` count for nothing; a label that is neither a class nor `ignore_label` is the caller's
mistake and is not looked for here.
"""

from __future__ import annotations

import inspect

import keras
from keras import ops

# Errors closer to each other than a 65,536th of the largest are taken as equal by the Lovász losses. See `_lovasz`.
LEVELS = 2**16


def cross_entropy(y_true, y_pred, class_weights: tuple[float, ...] | None = None, ignore_label: int | None = 255):
    """Mean cross-entropy: of the sigmoid for one channel, of the softmax for several.

    `class_weights` has one number per class (background first when there is one channel); the mean is then weighted.
    """
    logits, labels, weights = _prepare(y_true, y_pred, ignore_label)
    if logits.shape[-1] == 1:
        logit = logits[..., 0]
        entropy = ops.softplus(logit) - logit * ops.cast(labels, "float32")
    else:
        entropy = -ops.sum(ops.one_hot(labels, logits.shape[-1]) * ops.log_softmax(logits), axis=-1)
    if class_weights is not None:
        classes = max(logits.shape[-1], 2)
        if len(class_weights) != classes:
            raise ValueError(f"class_weights needs {classes} numbers, one per class. Received: {class_weights}")
        weights = weights * ops.take(ops.convert_to_tensor(class_weights, "float32"), labels)
    return ops.sum(entropy * weights) / ops.maximum(ops.sum(weights), 1e-6)


def focal(y_true, y_pred, gamma: float = 2.0, ignore_label: int | None = 255):
    """Focal loss (Lin et al. 2017, equation 4): cross-entropy times (1 - the true class's probability)^gamma."""
    logits, labels, weights = _prepare(y_true, y_pred, ignore_label)
    probability, truth = _one_against_rest(logits, labels)
    if logits.shape[-1] == 1:
        probability, truth = (ops.concatenate([1 - x, x], axis=-1) for x in (probability, truth))
    right = ops.clip(ops.sum(probability * truth, axis=-1), 1e-7, 1)
    return ops.sum((1 - right) ** gamma * -ops.log(right) * weights) / ops.maximum(ops.sum(weights), 1e-6)


def consistency(plain, altered):
    """PortraitNet's consistency constraint: KL divergence of the logits for an altered photo from those for the plain.

    Both are (batch, height, width, channels); the plain photo's are the target, and no gradient goes there. With the
    logits of a teacher in the place of the plain photo's it is distillation (Hinton et al. 2015, at temperature 1).
    """
    target, found = ops.stop_gradient(_log_probabilities(plain)), _log_probabilities(altered)
    return ops.mean(ops.sum(ops.exp(target) * (target - found), axis=-1))


def _log_probabilities(logits):
    """Of each class; one channel is the second's logit against 0."""
    if logits.shape[-1] == 1:
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    return ops.log_softmax(logits)


def soft_iou(y_true, y_pred, ignore_label: int | None = 255):
    """1 - IoU of the probabilities, per image and averaged: the differentiable twin of `metrics.foreground_iou`.

    With several channels it is the mean over the classes present in the image. One pixel is added to intersection and
    union, so that an image without foreground asks for an empty mask.
    """
    logits, labels, weights = _prepare(y_true, y_pred, ignore_label)
    probability, truth = _one_against_rest(logits, labels)
    weights = weights[..., None]
    pixels = (1, 2)
    intersection = ops.sum(probability * truth * weights, axis=pixels)
    union = ops.sum((probability + truth - probability * truth) * weights, axis=pixels)
    losses = 1 - (intersection + 1) / (union + 1)
    if logits.shape[-1] == 1:
        return ops.mean(losses)
    present = ops.cast(ops.any(truth * weights > 0, axis=pixels), "float32")
    return _mean_where(losses, present)


def cross_entropy_iou(
    y_true,
    y_pred,
    iou_weight: float = 1.0,
    class_weights: tuple[float, ...] | None = None,
    ignore_label: int | None = 255,
):
    """Cross-entropy plus `iou_weight` times the soft IoU loss."""
    return cross_entropy(y_true, y_pred, class_weights, ignore_label) + iou_weight * soft_iou(
        y_true, y_pred, ignore_label
    )


def lovasz_hinge(y_true, y_pred, per_image: bool = False, ignore_label: int | None = 255):
    """Lovász hinge (Berman et al. 2018, section 3.1) of the foreground's IoU; logits of one channel.

    The IoU is that of the whole batch, as in ExtremeC3Net's code, or the mean of the images' with `per_image`.
    """
    return _hinge(*_prepare(y_true, y_pred, ignore_label), per_image)


def lovasz_softmax(y_true, y_pred, classes: str = "present", per_image: bool = False, ignore_label: int | None = 255):
    """Lovász softmax (Berman et al. 2018, section 3.2): mean over the classes of the surrogate of 1 - IoU.

    `classes`: "present" leaves out those that no pixel of the batch (image, with `per_image`) has; "all" does not.
    """
    return _softmax(*_prepare(y_true, y_pred, ignore_label), per_image, classes)


def lovasz(y_true, y_pred, per_image: bool = False, ignore_label: int | None = 255):
    """`lovasz_hinge` for one channel, `lovasz_softmax` over the present classes for several."""
    return _hinge_or_softmax(*_prepare(y_true, y_pred, ignore_label), per_image)


def boundary_band(labels, kernel_size: int, ignore_label: int | None = 255):
    """Float32 (batch, height, width, 1): 1 within `kernel_size` // 2 pixels of a boundary between two labels, else 0.

    For a mask of 0 and 1 this is dilation minus erosion by a square (ExtremeC3Net, equation 1; the paper's kernel is 7,
    the authors' code has 5 for labels at a quarter of the resolution and 15 at the full one). Neither ignored pixels
    nor the image's border make a boundary.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"The boundary's kernel_size must be odd and positive. Received: {kernel_size}")
    labels = _with_channel(labels)
    highest = lowest = ops.cast(labels, "float32")
    if ignore_label is not None:
        ignored = ops.equal(ops.cast(labels, "int32"), ignore_label)
        highest, lowest = ops.where(ignored, -1.0, highest), ops.where(ignored, 1e6, lowest)
    dilated, eroded = dilate(highest, kernel_size), -dilate(-lowest, kernel_size)
    return ops.cast(dilated > eroded, "float32")


def boundary_loss(y_true, y_pred, kernel_size: int = 15, per_image: bool = False, ignore_label: int | None = 255):
    """`lovasz` over the pixels of `boundary_band` alone, all others ignored."""
    band = boundary_band(y_true, kernel_size, ignore_label)[..., 0]
    logits, labels, weights = _prepare(y_true, y_pred, ignore_label)
    return _hinge_or_softmax(logits, labels, weights * band, per_image)


def lovasz_boundary(
    y_true,
    y_pred,
    kernel: int = 15,
    weight: float = 0.5,
    per_image: bool = False,
    ignore_label: int | None = 255,
):
    """ExtremeC3Net's loss (section 3.3): `lovasz` over the image plus `weight` times the `boundary_loss`."""
    return lovasz(y_true, y_pred, per_image, ignore_label) + weight * boundary_loss(
        y_true, y_pred, kernel, per_image, ignore_label
    )


class _Loss(keras.losses.Loss):
    """A function of this file with its options, as `compile` takes it."""

    function = None

    def __init__(self, name: str | None = None, **options):
        inspect.signature(self.function).bind(None, None, **options)  # TypeError for an option that is none
        super().__init__(name=name or self.function.__name__)
        self.options = options

    def call(self, y_true, y_pred):
        # Keras squeezes a single channel out of the logits when the labels have none.
        value = self.function(y_true, y_pred if len(y_pred.shape) == 4 else y_pred[..., None], **self.options)
        return ops.reshape(value, (1,))  # a scalar would not be divided among the replicas of a distributed training

    def get_config(self) -> dict:
        return {"name": self.name, **self.options}


@keras.saving.register_keras_serializable("pocketseg")
class CrossEntropy(_Loss):
    """`cross_entropy`."""

    function = staticmethod(cross_entropy)


@keras.saving.register_keras_serializable("pocketseg")
class CrossEntropyIoU(_Loss):
    """`cross_entropy_iou`."""

    function = staticmethod(cross_entropy_iou)


@keras.saving.register_keras_serializable("pocketseg")
class Focal(_Loss):
    """`focal`."""

    function = staticmethod(focal)


@keras.saving.register_keras_serializable("pocketseg")
class SoftIoU(_Loss):
    """`soft_iou`."""

    function = staticmethod(soft_iou)


@keras.saving.register_keras_serializable("pocketseg")
class Lovasz(_Loss):
    """`lovasz`."""

    function = staticmethod(lovasz)


@keras.saving.register_keras_serializable("pocketseg")
class LovaszBoundary(_Loss):
    """`lovasz_boundary`."""

    function = staticmethod(lovasz_boundary)


LOSSES = {
    kind.function.__name__: kind for kind in (CrossEntropy, CrossEntropyIoU, Focal, SoftIoU, Lovasz, LovaszBoundary)
}


def get(name: str, **options) -> keras.losses.Loss:
    """The loss of that name; `options` are its function's own. ValueError with the valid names without one."""
    if name not in LOSSES:
        raise ValueError(f"Unknown loss. Valid names: {', '.join(LOSSES)}. Received: {name!r}")
    return LOSSES[name](**options)


def _with_channel(labels):
    labels = ops.convert_to_tensor(labels)
    return labels[..., None] if len(labels.shape) == 3 else labels


def _prepare(y_true, y_pred, ignore_label):
    """Float32 logits, int32 labels (batch, height, width) with 0 for the ignored, and weights: 0 for those, else 1."""
    logits = ops.cast(y_pred, "float32")
    labels = _with_channel(y_true)
    if tuple(labels.shape[1:]) != (*logits.shape[1:3], 1):
        raise ValueError(
            "Labels and logits must have the same height and width. "
            f"Received: labels {tuple(labels.shape)}, logits {tuple(logits.shape)}"
        )
    labels = ops.cast(labels[..., 0], "int32")
    if ignore_label is None:
        return logits, labels, ops.ones_like(labels, dtype="float32")
    kept = ops.not_equal(labels, ignore_label)
    return logits, ops.where(kept, labels, 0), ops.cast(kept, "float32")


def _one_against_rest(logits, labels):
    """Probabilities and truth per class, both (batch, height, width, channels)."""
    if logits.shape[-1] == 1:
        return ops.sigmoid(logits), ops.cast(labels[..., None], "float32")
    return ops.softmax(logits), ops.one_hot(labels, logits.shape[-1])


def _mean_where(values, kept):
    """Mean over the images of the mean over the classes that are kept; values (groups, classes)."""
    count = ops.sum(kept, axis=-1)
    means = ops.sum(values * kept, axis=-1) / ops.maximum(count, 1)
    return ops.sum(means) / ops.maximum(ops.sum(ops.cast(count > 0, "float32")), 1)


def dilate(x, kernel_size):
    """Greatest value in a square around each pixel; the padding never wins. One axis after the other is faster."""
    x = ops.max_pool(x, (kernel_size, 1), strides=1, padding="same", data_format="channels_last")
    return ops.max_pool(x, (1, kernel_size), strides=1, padding="same", data_format="channels_last")


def _hinge_or_softmax(logits, labels, weights, per_image):
    surrogate = _hinge if logits.shape[-1] == 1 else _softmax
    return surrogate(logits, labels, weights, per_image)


def _hinge(logits, labels, weights, per_image):
    if logits.shape[-1] != 1:
        raise ValueError(f"The Lovász hinge takes logits of one channel. Received: {tuple(logits.shape)}")
    groups = ops.shape(logits)[0] if per_image else 1
    logits, labels, weights = (ops.reshape(x, (groups, -1)) for x in (logits, labels, weights))
    truth = ops.cast(labels, "float32")
    return ops.mean(_lovasz(1 - logits * (2 * truth - 1), truth, weights))


def _softmax(logits, labels, weights, per_image, classes="present"):
    if classes not in ("present", "all"):
        raise ValueError(f"classes must be 'present' or 'all'. Received: {classes!r}")
    groups, channels = ops.shape(logits)[0] if per_image else 1, logits.shape[-1]
    probability, truth = _one_against_rest(logits, labels)
    weights = ops.broadcast_to(weights[..., None], ops.shape(truth))
    # One row per image (or one for the batch) and class.
    probability, truth, weights = (
        ops.reshape(ops.transpose(ops.reshape(x, (groups, -1, channels)), (0, 2, 1)), (groups * channels, -1))
        for x in (probability, truth, weights)
    )
    losses = _lovasz(ops.abs(truth - probability), truth, weights)
    present = ops.any(truth * weights > 0, axis=-1) if classes == "present" else ops.any(weights > 0, axis=-1)
    rows = (groups, channels)
    return _mean_where(ops.reshape(losses, rows), ops.reshape(ops.cast(present, "float32"), rows))


def _lovasz(errors, truth, weights):
    """The Lovász extension of 1 - IoU at `errors`, one value per row; negative errors count as 0.

    errors, truth (0 or 1), weights (0 or 1): float32 (rows, pixels). With the errors in descending order, each pixel's
    factor is what its misprediction adds to 1 - IoU when those before it are mispredicted already. Equal errors may
    stand in any order, so counting the pixels at each of 65,536 levels replaces the sort: on TensorFlow's CPU a batch
    of 60 masks takes a fifth of the time, and the value differs from the sorted one by less than one level's width.
    """
    rows = ops.shape(errors)[0]
    errors = ops.relu(errors)
    fixed = ops.stop_gradient(errors)
    level = fixed * ((LEVELS - 1) / ops.maximum(ops.max(fixed), 1e-30))
    level = ops.clip(ops.cast(level, "int32"), 0, LEVELS - 1)  # a NaN stays a NaN in the sum, not an index
    level = level + LEVELS * ops.arange(rows, dtype="int32")[:, None]

    def count(pixels):
        """Pixels at each level, (rows, LEVELS) from the greatest error down."""
        counts = ops.segment_sum(ops.reshape(pixels, (-1,)), ops.reshape(level, (-1,)), rows * LEVELS)
        return ops.flip(ops.reshape(counts, (rows, LEVELS)), axis=-1)

    foreground, background = count(truth * weights), count((1 - truth) * weights)
    total = ops.sum(foreground, axis=-1, keepdims=True)
    missed = ops.cumsum(foreground, axis=-1)
    union = total + ops.cumsum(background, axis=-1)
    union_before = union - background
    # Within a level the foreground comes first. Each of its pixels takes 1 from the intersection; all the background's
    # together widen the union from `union_before` to `union`. Without foreground, 1 - IoU jumps from 0 to 1 at once.
    foreground_factor = 1 / ops.maximum(union_before, 1)
    background_factor = ops.where(
        union_before > 0,
        (total - missed) / ops.maximum(union_before * union, 1),
        1 / ops.maximum(background, 1),
    )

    def at_pixels(factor):
        return ops.take(ops.reshape(ops.flip(factor, axis=-1), (-1,)), level)

    factor = weights * ops.where(truth > 0, at_pixels(foreground_factor), at_pixels(background_factor))
    return ops.sum(errors * ops.stop_gradient(factor), axis=-1)
