"""What makes a mask look good: soft edges that follow the photo, steady video, backgrounds that fill the frame."""

import cv2
import numpy as np
import PIL.Image
import pytest

from benchmarks import edges
from keras_models import masks, predict
from keras_models.data import drawings
from keras_models.data.datasets import Dataset
from keras_models.models import Predictor
from keras_models.smoothing import SHARE, Smoothing
from tflite import runtime


def disc(size=96, radius=30):
    """A bright disc on a dark ground, and the disc's mask."""
    y, x = np.mgrid[:size, :size]
    inside = (x - size / 2) ** 2 + (y - size / 2) ** 2 < radius**2
    return np.where(inside[..., None], 220, 30).astype(np.uint8).repeat(3, 2), inside


def test_guided_filter_moves_a_coarse_edge_to_the_photo():
    image, inside = disc()
    coarse = inside[::8, ::8].astype(np.float32)
    refined = predict.alpha(coarse, image, refine=True)
    plain = predict.alpha(coarse, image, refine=False)
    assert refined.shape == image.shape[:2]
    assert np.abs(refined - inside).mean() < np.abs(plain - inside).mean()


def test_the_gain_of_refined_edges_is_measured_by_window():
    image, inside = disc()
    coarse = cv2.resize(np.where(inside, 4.0, -4.0).astype(np.float32), (12, 12), interpolation=cv2.INTER_AREA)
    network = Predictor("disc", (96, 96), lambda images: coarse[None, ..., None], ("background", "person"), [])
    photos = Dataset("disc", ("a",), lambda i: (image, inside.astype(np.uint8)), ("background", "person"))
    plain, *refined = (figures["boundary_iou"] for figures in edges.figures(network, photos))
    assert len(refined) + 1 == len(edges.WINDOWS)
    assert plain < 0.8 < refined[-1]


def test_edges_are_soft_and_the_rest_is_sure():
    image, inside = disc()
    opacity = predict.alpha(inside[::4, ::4].astype(np.float32), image, refine=False)
    assert opacity[48, 48] == 1
    assert opacity[2, 2] == 0
    assert ((opacity > 0.05) & (opacity < 0.95)).sum() > 50


def test_smoothing_steadies_noise_but_follows_movement():
    picture, _ = disc()
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    moved = np.roll(picture, 30, axis=1)
    before, after = np.zeros((96, 96), np.float32), np.ones((96, 96), np.float32)
    smoothing = Smoothing(0.8)
    np.testing.assert_array_equal(smoothing(before, picture), before)
    calm = smoothing(after, noisy)
    assert 0.2 < calm.mean() < 0.5  # most of the old mask stays
    now = smoothing(before, moved)
    changed = cv2.erode((picture != moved)[..., 0].astype(np.uint8), np.ones((3, 3))) > 0
    np.testing.assert_array_equal(now[changed], 0)  # nothing trails behind
    assert now[:10].mean() > 0.05  # above the disc nothing moved


def test_smoothing_takes_classes_and_masks_of_another_size():
    smoothing = Smoothing(0.5)
    picture = np.zeros((40, 40, 3), np.uint8)
    smoothing(np.zeros((20, 20, 2)), picture)
    np.testing.assert_allclose(smoothing(np.ones((20, 20, 2)), picture), 0.5)
    with pytest.raises(ValueError, match="below 1"):
        Smoothing(1.0)


def test_a_video_is_smoothed_as_the_spec_says_unless_the_command_says_otherwise(tmp_path, monkeypatch):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
    for _ in range(3):
        writer.write(np.full((32, 32, 3), 90, np.uint8))
    writer.release()
    shares = []
    monkeypatch.setattr(predict, "Smoothing", lambda share: shares.append(share) or (lambda mask, picture: mask))
    for spec, flags in ((None, []), (0.3, []), (0.0, []), (0.3, ["--smoothing", "0.5"])):
        network = Predictor(
            "n",
            (16, 16),
            lambda x: np.zeros((len(x), 16, 16, 1), np.float32),
            ("a", "b"),
            [[0] * 3] * 2,
            smoothing=spec,
        )
        monkeypatch.setattr(predict.km.models, "predictor", lambda name, network=network: network)
        predict.main(["n.tflite", str(tmp_path / "clip.avi"), "-o", str(tmp_path / "out.mp4"), "--overwrite", *flags])
    assert shares == [SHARE, 0.3, 0.0, 0.5]


@pytest.mark.parametrize("shape", [(30, 90), (90, 30), (200, 200), (7, 5)])
def test_background_picture_fills_the_frame(shape):
    picture = np.full((*shape, 3), 9, np.uint8)
    covered = masks.cover(picture, (48, 64))
    assert covered.shape == (48, 64, 3)
    assert (covered == 9).all()


def test_blur_keeps_the_person_out_of_the_background():
    image, inside = disc()
    blurred = masks.blurred(image, inside.astype(np.float32), strength=0.1)
    just_outside = blurred[48, 48 + 34]
    assert just_outside.max() < 60  # a plain blur would carry the disc's brightness here


@pytest.mark.parametrize(("logits", "expected"), [([[[0.0]]], 0.5), ([[[30.0]]], 1.0), ([[[0.0, 0.0, 0.0]]], 2 / 3)])
def test_foreground_is_all_that_is_no_background(logits, expected):
    assert predict.foreground(np.array(logits))[0, 0] == pytest.approx(expected)


def test_what_the_foreground_encloses_is_filled():
    y, x = np.mgrid[:40, :60]
    ring = np.abs(np.hypot(x - 20, y - 20) - 12) < 3
    probability = np.where(ring, 0.9, 0.2).astype(np.float32)
    probability[5:35, 45:48] = 0.8  # encloses nothing
    filled = predict.fill_contours(probability)
    assert filled.dtype == np.float32
    hole = np.hypot(x - 20, y - 20) <= 9
    np.testing.assert_array_equal(filled[hole], 1)
    np.testing.assert_array_equal(filled[~hole], probability[~hole])
    np.testing.assert_array_equal(predict.fill_contours(1 - probability)[hole], (1 - probability)[hole])


@pytest.mark.parametrize("regions", predict.FILLS)
def test_the_device_side_fills_the_same_pixels(regions):
    """runtime.py stands alone, so it has a version of its own, for all classes."""
    probability = cv2.blur(np.random.default_rng(0).random((60, 50, 3)).astype(np.float32), (3, 3))
    probability /= probability.sum(-1, keepdims=True)
    probability[..., 0] = np.clip(1.4 * probability[..., 0], 0, 1)
    probability[..., 1:] *= ((1 - probability[..., 0]) / probability[..., 1:].sum(-1))[..., None]
    filled = probability.copy()
    runtime.fill_contours(filled, 0.5, regions)
    foreground = 1 - probability[..., 0]
    np.testing.assert_allclose(1 - filled[..., 0], predict.fill_contours(foreground, regions=regions), atol=1e-6)
    assert (filled[..., 0] < probability[..., 0]).sum() > 20
    np.testing.assert_allclose(filled.sum(-1), 1, atol=1e-5)


def test_what_is_made_of_a_heic_photo_is_a_jpeg(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install pillow-heif")
    (tmp_path / "photos").mkdir()
    heif.from_pillow(PIL.Image.fromarray(drawings.draw(1)[0])).save(tmp_path / "photos" / "a.heic")
    predict.main(["pocketnet-s", str(tmp_path / "photos"), "--effect", "blur", "-o", str(tmp_path / "out")])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jpg"]
    monkeypatch.chdir(tmp_path)
    predict.main(["pocketnet-s", "photos/a.heic"])
    assert (tmp_path / "a-overlay.jpg").is_file()
