"""Every loss against a slow computation of its own."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_models import losses
from tests.backend import compiled, gradient

IGNORED = 255


@pytest.fixture
def random():
    return np.random.default_rng(0)


def binary_case(random, shape=(3, 9, 11)):
    """Logits of one channel, and labels 0, 1 and ignored."""
    labels = random.integers(0, 2, shape)
    labels[random.random(shape) < 0.1] = IGNORED
    return random.normal(0, 2, (*shape, 1)).astype("float32"), labels.astype("uint8")


def multiclass_case(random, shape=(3, 6, 7), classes=4):
    """Logits of four channels; the labels never have the last class, the first image only one class."""
    labels = random.integers(0, classes - 1, shape)
    labels[0] = 1
    labels[random.random(shape) < 0.1] = IGNORED
    return random.normal(0, 2, (*shape, classes)).astype("float32"), labels.astype("uint8")


def lovasz_extension(errors, truth):
    """Sum over the sorted errors of error * growth of the Jaccard loss, from sets of pixel numbers."""
    foreground = {i for i, t in enumerate(truth) if t}
    mispredicted, before, total = set(), 0.0, 0.0
    for i in sorted(range(len(errors)), key=lambda i: -errors[i]):
        mispredicted.add(i)
        union = foreground | mispredicted
        jaccard_loss = 1 - len(foreground - mispredicted) / len(union)
        total += max(errors[i], 0.0) * (jaccard_loss - before)
        before = jaccard_loss
    return total


def hinge_of(logits, labels):
    kept = labels.ravel() != IGNORED
    logits, truth = logits.ravel()[kept].astype("float64"), labels.ravel()[kept]
    return lovasz_extension(1 - logits * (2.0 * truth - 1), truth)


def softmax_of(logits, labels, classes="present"):
    kept = labels.ravel() != IGNORED
    logits, truth = logits.reshape(-1, logits.shape[-1])[kept].astype("float64"), labels.ravel()[kept]
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    terms = [
        lovasz_extension(np.abs((truth == c) - probability[:, c]), truth == c)
        for c in range(logits.shape[1])
        if classes == "all" or (truth == c).any()
    ]
    return np.mean(terms)


@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_hinge_is_the_sorted_definition(random, per_image):
    logits, labels = binary_case(random)
    result = compiled(lambda x, y: losses.lovasz_hinge(y, x, per_image))(logits, labels)
    groups = zip(logits, labels, strict=True) if per_image else [(logits, labels)]
    assert float(result) == pytest.approx(np.mean([hinge_of(*group) for group in groups]), rel=1e-4)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", ["present", "all"])
def test_lovasz_softmax_is_the_sorted_definition(random, classes, per_image):
    logits, labels = multiclass_case(random)
    result = compiled(lambda x, y: losses.lovasz_softmax(y, x, classes, per_image))(logits, labels)
    groups = zip(logits, labels, strict=True) if per_image else [(logits, labels)]
    assert float(result) == pytest.approx(np.mean([softmax_of(*group, classes) for group in groups]), rel=1e-4)


def test_lovasz_hinge_of_ties_and_of_no_foreground():
    logits, labels = np.zeros((1, 2, 3, 1), "float32"), np.array([[[1, 0, 1], [0, 0, 1]]])
    assert float(losses.lovasz_hinge(labels, logits)) == pytest.approx(1.0)
    logits[0, 0, 0] = 0.5
    # Every pixel is background: the loss is the greatest error.
    assert float(losses.lovasz_hinge(np.zeros_like(labels), logits)) == pytest.approx(1.5)
    assert float(losses.lovasz_hinge(np.full_like(labels, IGNORED), logits)) == 0.0


def test_a_perfect_mask_has_no_lovasz_loss(random):
    _, labels = binary_case(random)
    logits = np.where(labels == 1, 20.0, -20.0)[..., None]
    assert float(losses.lovasz_boundary(labels, logits, 3)) == 0.0


@pytest.mark.parametrize("name", ["lovasz", "lovasz_boundary", "cross_entropy_iou"])
@pytest.mark.parametrize("case", [binary_case, multiclass_case])
def test_gradients_agree_with_differences(random, name, case):
    logits, labels = case(random, (2, 2, 3))
    options = {"kernel": 3} if name == "lovasz_boundary" else {}

    def loss(x):
        return losses.get(name, **options)(labels, x)

    found, loss = np.asarray(gradient(loss)(logits)), compiled(loss)
    # The Lovász losses are piecewise linear in the errors: the step must stay within a piece, and well above a level.
    step = 2e-3
    for index in np.ndindex(logits.shape):
        change = np.zeros_like(logits)
        change[index] = step
        difference = float(loss(logits + change)) - float(loss(logits - change))
        assert found[index] == pytest.approx(difference / (2 * step), abs=5e-4), index
    assert np.abs(found).max() > 0.01


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_boundary_band_is_dilation_minus_erosion(random, kernel_size):
    import cv2

    masks = (cv2.GaussianBlur(random.random((2, 40, 30)), (0, 0), 3) > 0.5).astype("uint8")
    kernel = np.ones((kernel_size, kernel_size), "uint8")
    expected = np.stack([cv2.dilate(mask, kernel) - cv2.erode(mask, kernel) for mask in masks])
    band = ops.convert_to_numpy(losses.boundary_band(masks, kernel_size))
    assert band.shape == (2, 40, 30, 1)
    np.testing.assert_array_equal(band[..., 0], expected)
    assert kernel_size == 1 or 0 < band.mean() < 1


def test_ignored_pixels_make_no_boundary():
    labels = np.array([[[0, IGNORED, 2, 2, 2, 1]]])
    band = ops.convert_to_numpy(losses.boundary_band(labels, 3)).ravel()
    # Only 2 meets 1; 0 and 2 are both within reach of the ignored pixel alone.
    np.testing.assert_array_equal(band, [0, 1, 0, 0, 1, 1])


def test_boundary_loss_ignores_what_is_off_the_band(random):
    logits, labels = binary_case(random)
    band = ops.convert_to_numpy(losses.boundary_band(labels, 3))[..., 0]
    masked = np.where(band > 0, labels, IGNORED)
    assert (masked != labels).any() and (masked != IGNORED).any()
    boundary = hinge_of(logits, masked)
    assert float(losses.boundary_loss(labels, logits, 3)) == pytest.approx(boundary, rel=1e-4)
    combined = losses.lovasz_boundary(labels, logits, 3, weight=0.3)
    assert float(combined) == pytest.approx(hinge_of(logits, labels) + 0.3 * boundary, rel=1e-4)


@pytest.mark.parametrize("case", [binary_case, multiclass_case])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_the_weighted_mean_of_log_probabilities(random, case, weighted):
    logits, labels = case(random)
    class_weights = (0.5, 2.0, 3.0, 1.0)[: max(2, logits.shape[-1])] if weighted else None
    total = weight_sum = 0.0
    for index in np.ndindex(labels.shape):
        if (label := labels[index]) == IGNORED:
            continue
        values = [0.0, logits[index][0]] if logits.shape[-1] == 1 else logits[index]
        weight = class_weights[label] if weighted else 1.0
        total -= weight * (values[label] - np.log(np.sum(np.exp(np.array(values, "float64")))))
        weight_sum += weight
    result = compiled(lambda x, y: losses.cross_entropy(y, x, class_weights))(logits, labels)
    assert float(result) == pytest.approx(total / weight_sum, rel=1e-5)


def test_cross_entropy_of_certain_logits_is_finite():
    logits = np.array([[[[1e4], [-1e4]]]], "float32")
    assert float(losses.cross_entropy(np.array([[[1, 0]]]), logits)) == 0.0
    assert float(losses.cross_entropy(np.array([[[0, 0]]]), logits)) == pytest.approx(5e3)


def test_soft_iou_per_image(random):
    logits, labels = binary_case(random)
    expected = []
    for logit, label in zip(logits[..., 0].astype("float64"), labels, strict=True):
        p, t = 1 / (1 + np.exp(-logit[label != IGNORED])), label[label != IGNORED]
        expected.append(1 - ((p * t).sum() + 1) / ((p + t - p * t).sum() + 1))
    assert float(compiled(losses.soft_iou)(labels, logits)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_soft_iou_of_several_classes_leaves_out_absent_ones(random):
    logits, labels = multiclass_case(random)
    images = []
    for logit, label in zip(logits.astype("float64"), labels, strict=True):
        logit, label = logit[label != IGNORED], label[label != IGNORED]
        p = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
        terms = []
        for c in np.unique(label):
            t = label == c
            terms.append(1 - ((p[:, c] * t).sum() + 1) / ((p[:, c] + t - p[:, c] * t).sum() + 1))
        images.append(np.mean(terms))
    assert float(compiled(losses.soft_iou)(labels, logits)) == pytest.approx(np.mean(images), rel=1e-5)


@pytest.mark.parametrize("name", list(losses.LOSSES))
def test_losses_train_with_labels_of_either_rank(random, name):
    logits, labels = binary_case(random, (2, 4, 4))
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Rescaling(1.0)])
    results = []
    for y in (labels, labels[..., None]):
        model.compile(loss=losses.get(name))
        results.append(model.evaluate(logits, y, verbose=0))
    expected = float(losses.get(name)(labels, logits))
    assert results == pytest.approx([expected, expected], rel=1e-5)
    assert np.isfinite(expected) and expected > 0


def test_a_nan_logit_gives_a_nan_loss():
    logits = np.array([[[[np.nan], [1.0]]]], "float32")
    assert np.isnan(float(losses.lovasz_hinge(np.array([[[1, 0]]]), logits)))


def test_mistakes_are_named():
    logits = np.zeros((1, 4, 4, 1), "float32")
    with pytest.raises(ValueError, match=r"lovasz_boundary.*Received: 'dice'"):
        losses.get("dice")
    with pytest.raises(ValueError, match=r"same height and width.*\(1, 8, 8, 1\)"):
        losses.lovasz(np.zeros((1, 8, 8)), logits)
    with pytest.raises(ValueError, match=r"odd and positive. Received: 4"):
        losses.boundary_band(np.zeros((1, 4, 4)), 4)
    with pytest.raises(ValueError, match=r"needs 2 numbers"):
        losses.cross_entropy(np.zeros((1, 4, 4)), logits, class_weights=(1.0,))
    with pytest.raises(ValueError, match="one channel"):
        losses.lovasz_hinge(np.zeros((1, 4, 4)), np.zeros((1, 4, 4, 2), "float32"))


@pytest.mark.parametrize("name", list(losses.LOSSES))
def test_a_loss_is_divided_among_the_replicas_of_a_distributed_training(random, name):
    """Keras divides what is no scalar; a scalar would make every gradient as many times too large."""
    logits, labels = binary_case(random, (2, 4, 4))
    assert tuple(losses.get(name).call(labels, logits).shape) == (1,)
    assert tuple(losses.get(name)(labels, logits).shape) == ()
