"""Every metric against a slow computation of its own."""

import cv2
import numpy as np
import pytest
from keras import ops

from keras_models import metrics
from tests.backend import ON_JAX, compiled

IGNORED = 255


def blobs(seed, shape=(3, 40, 30)):
    """Smooth masks of 0 and 1; predictions differ from labels along the contour, and some labels are ignored."""
    random = np.random.default_rng(seed)
    field = np.stack([cv2.GaussianBlur(random.normal(size=shape[1:]), (0, 0), 4) for _ in range(shape[0])])
    other = field + 0.06 * np.stack([cv2.GaussianBlur(random.normal(size=shape[1:]), (0, 0), 2) for _ in field])
    labels = (field > 0).astype("uint8")
    labels[:, 10:14, 5:20] = IGNORED
    return labels, (other > 0).astype("uint8")


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_foreground_iou_is_per_image_then_averaged():
    labels, predictions = blobs(0)
    expected = []
    for truth, predicted in zip(labels, predictions, strict=True):
        kept = truth != IGNORED
        expected.append(iou(truth[kept] == 1, predicted[kept] == 1))
    per_image = ops.convert_to_numpy(compiled(metrics.foreground_iou_per_image)(labels, predictions))
    np.testing.assert_allclose(per_image, expected, rtol=1e-6)
    assert len(set(expected)) == 3
    assert float(metrics.foreground_iou(labels[..., None], predictions)) == pytest.approx(np.mean(expected))


def test_foreground_iou_of_empty_masks():
    empty, one = np.zeros((1, 4, 4), "uint8"), np.eye(4, dtype="uint8")[None]
    results = [
        float(metrics.foreground_iou(*pair)) for pair in ((empty, empty), (empty, one), (one, empty), (one, one))
    ]
    assert results == [1.0, 0.0, 0.0, 1.0]
    assert float(metrics.foreground_iou(np.full_like(empty, IGNORED), one)) == 1.0


def test_foreground_is_every_class_but_0():
    labels, predictions = np.array([[[0, 1, 2, 3]]]), np.array([[[1, 2, 2, 0]]])
    assert float(metrics.foreground_iou(labels, predictions)) == pytest.approx(2 / 4)


def test_confusion_matrix_and_the_iou_of_its_classes():
    random = np.random.default_rng(1)
    labels, predictions = random.integers(0, 3, (2, 7, 5)), random.integers(0, 4, (2, 7, 5))
    labels[random.random(labels.shape) < 0.2] = IGNORED
    expected = np.zeros((5, 5), int)  # class 4 is in neither, class 3 in the predictions alone
    for truth, predicted in zip(labels.ravel(), predictions.ravel(), strict=True):
        if truth != IGNORED:
            expected[truth, predicted] += 1
    matrix = compiled(lambda y, p: metrics.confusion_matrix(y, p, classes=5))(labels, predictions)
    np.testing.assert_array_equal(ops.convert_to_numpy(matrix), expected)

    kept = labels != IGNORED
    ious = [iou(labels[kept] == c, predictions[kept] == c) for c in range(4)]
    np.testing.assert_allclose(ops.convert_to_numpy(compiled(metrics.class_iou)(matrix)), [*ious, np.nan], rtol=1e-6)
    assert ious[3] == 0
    assert float(metrics.mean_iou(matrix)) == pytest.approx(np.mean(ious))
    # A sum over a data set is a numpy array, beyond the range of int32.
    assert float(metrics.mean_iou(expected * 10**9)) == pytest.approx(np.mean(ious))


def inner_band(mask, radius):
    """The band of Cheng et al.'s own code: the mask, framed by background, minus its erosion."""
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return (mask - cv2.erode(framed, np.ones((3, 3), "uint8"), iterations=radius)[1:-1, 1:-1]).astype(bool)


@pytest.mark.parametrize(("width", "radius"), [(0.02, 1), (0.05, 2), (0.1, 5)])  # the diagonal is 50
def test_boundary_iou_is_that_of_the_inner_bands(width, radius):
    labels, predictions = blobs(2)
    labels[labels == IGNORED] = 1
    expected = [iou(inner_band(t, radius), inner_band(p, radius)) for t, p in zip(labels, predictions, strict=True)]
    result = float(compiled(lambda y, p: metrics.boundary_iou(y, p, width))(labels, predictions))
    assert result == pytest.approx(np.mean(expected))
    assert 0.1 < result < 0.95


def contour(mask, kept):
    """Foreground pixels that count and touch a background pixel that counts."""
    found = np.zeros(mask.shape, bool)
    for y, x in zip(*np.nonzero(mask & kept), strict=True):
        around = (slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
        found[y, x] = (~mask[around] & kept[around]).any()
    return found


def share_within(points, others, reach):
    near = [(np.abs(others - point).max(axis=1) <= reach).any() for point in points]
    return np.mean(near)


@pytest.mark.parametrize(("tolerance", "reach"), [(0.0075, 1), (0.06, 3)])  # the diagonal is 50
def test_boundary_f_score_matches_contours_within_the_tolerance(tolerance, reach):
    labels, predictions = blobs(3)
    expected = []
    for truth, predicted in zip(labels, predictions, strict=True):
        kept = truth != IGNORED
        a, b = (np.argwhere(contour(mask == 1, kept)) for mask in (truth, predicted))
        precision, recall = share_within(b, a, reach), share_within(a, b, reach)
        expected.append(2 * precision * recall / (precision + recall))
    result = float(compiled(lambda y, p: metrics.boundary_f_score(y, p, tolerance))(labels, predictions))
    assert result == pytest.approx(np.mean(expected))
    assert np.mean(expected) < 0.999


def test_boundaries_of_empty_masks():
    empty, one = np.zeros((1, 8, 8), "uint8"), np.zeros((1, 8, 8), "uint8")
    one[:, 2:6, 2:6] = 1
    for metric in (metrics.boundary_iou, metrics.boundary_f_score):
        results = [float(metric(*pair)) for pair in ((empty, empty), (empty, one), (one, empty), (one, one))]
        assert results == pytest.approx([1.0, 0.0, 0.0, 1.0])


def test_ignored_pixels_have_no_say_in_any_metric():
    labels, predictions = blobs(4)
    other = np.where(labels == IGNORED, 1 - predictions, predictions)
    assert (other != predictions).any()
    for metric in (metrics.foreground_iou, metrics.boundary_iou, metrics.boundary_f_score):
        assert float(metric(labels, predictions)) == float(metric(labels, other))


def test_flicker_counts_what_comes_and_goes_not_what_moves():
    steady = np.zeros((6, 8, 12), "uint8")
    steady[:, 2:6, 2:6] = 1
    moving = np.stack([np.roll(steady[0], step, axis=1) for step in range(6)])
    assert float(metrics.flicker(steady)) == float(metrics.flicker(moving)) == 0.0
    flickering = steady.copy()
    flickering[3, 2, 2:6] = 0  # four pixels of sixteen vanish for one frame
    # Frames 2, 3 and 4 see it: in frame 3 they flicker, in the others a neighbour differs.
    assert float(metrics.flicker(flickering)) == pytest.approx(4 / (4 * 16))
    with pytest.raises(ValueError, match=r"three frames. Received: 2"):
        metrics.flicker(steady[:2])


def logits_of(predictions, classes=2):
    return 6 * np.eye(classes, dtype="float32")[predictions] - 3


STREAMING = {
    metrics.ForegroundIoU: metrics.foreground_iou,
    metrics.BoundaryIoU: metrics.boundary_iou,
    metrics.BoundaryFScore: metrics.boundary_f_score,
}


@pytest.mark.parametrize("kind", STREAMING)
def test_a_streaming_metric_of_batches_is_its_function_of_all(kind):
    batches = [blobs(seed) for seed in range(5)]
    metric = kind()
    update = compiled(lambda labels, logits: metric.update_state(labels, logits)) if not ON_JAX else metric.update_state
    for labels, predictions in batches:
        update(labels[..., None], logits_of(predictions))
    labels, predictions = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert float(metric.result()) == pytest.approx(float(STREAMING[kind](labels, predictions)), abs=1e-6)
    again = kind.from_config(metric.get_config())
    again.update_state(labels, logits_of(predictions)[..., 1:])
    assert float(again.result()) == pytest.approx(float(metric.result()), abs=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_mean_iou_streams_and_takes_an_edge_class_for_foreground():
    metric, total = metrics.MeanIoU(classes=2), 0
    for seed in range(3):
        labels, predictions = blobs(seed)
        total = total + ops.convert_to_numpy(metrics.confusion_matrix(labels, predictions, 2))
        predictions = predictions + (predictions * (np.arange(30) % 2)).astype("uint8")
        metric.update_state(labels, logits_of(predictions, classes=3))
    assert float(metric.result()) == pytest.approx(float(metrics.mean_iou(total)), abs=1e-6)


def test_pixels_beyond_int32_are_counted():
    metric = metrics.MeanIoU(classes=2)
    batch = np.array([[[1 << 30, 1 << 29], [0, 1 << 30]]], "int32")  # 2.7 thousand million pixels
    for _ in range(40):
        metric._add(batch)
    np.testing.assert_array_equal(ops.convert_to_numpy(metric.sums()), 40.0 * batch[0])
    for _ in range(3):
        metric._add(np.ones((1, 2, 2), "int32"))  # too few for float32 to notice
    np.testing.assert_array_equal(ops.convert_to_numpy(metric.low) % 64, 3)


def test_a_model_is_compiled_with_the_metrics_as_keras_own():
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(1, 1)])
    model.compile(loss="mse", metrics=[metrics.ForegroundIoU(), metrics.MeanIoU(classes=2)])
    images, labels = np.random.default_rng(0).random((6, 8, 8, 3)), np.ones((6, 8, 8, 1), "uint8")
    found = model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
    predictions = metrics.predicted_labels(model.predict_on_batch(images))
    assert found["foreground_iou"] == pytest.approx(float(metrics.foreground_iou(labels, predictions)), abs=1e-6)
    with pytest.raises(ValueError, match="takes no sample_weight"):
        metrics.ForegroundIoU().update_state(labels, model.predict_on_batch(images), sample_weight=np.ones(6))


@pytest.mark.parametrize("seed", range(3))
def test_figures_of_a_photo_are_those_of_the_functions(seed):
    labels, predictions = blobs(seed, (4, 90, 120))
    labels[3], predictions[2:] = 0, 0  # an empty prediction, and both empty
    for truth, found in zip(labels, predictions, strict=True):
        photo = metrics.of_photo(truth, found, 2)
        for name in ("foreground_iou", "boundary_iou", "boundary_f_score"):
            expected = float(getattr(metrics, name)(truth[None], found[None]))
            assert getattr(photo, name) == pytest.approx(expected, abs=1e-6), name
        expected = metrics.confusion_matrix(truth[None], found[None], 2)
        np.testing.assert_array_equal(photo.confusion, ops.convert_to_numpy(expected))


def test_a_boundary_under_void_is_not_measured():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1
    rimmed = np.where(cv2.dilate(labels, np.ones((5, 5))) > labels, 255, labels)
    seen, unseen = (metrics.of_photo(mask, labels, 2) for mask in (labels, rimmed))
    assert (seen.boundary_iou, seen.boundary_f_score) == (1, 1)
    assert (unseen.foreground_iou, unseen.boundary_iou, unseen.boundary_f_score) == (1, None, None)
    assert metrics.mean_figures([unseen])["boundary_iou"] is None
    assert metrics.mean_figures([seen, unseen])["boundary_iou"] == 1


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"same shape.*\(1, 4, 4\) and \(1, 4, 5\)"):
        metrics.foreground_iou(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
