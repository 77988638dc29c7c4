"""Augmentation on the accelerator does what OpenCV does on the host, and a training on it goes on exactly."""

import dataclasses

import cv2
import keras
import numpy as np
import pytest

from keras_models import data, train
from keras_models.command import UserError
from keras_models.data import compose, light, on_device, pipeline
from tests.test_data import make_folder

RNG = np.random.default_rng(0)
PHOTO = cv2.normalize(cv2.GaussianBlur(RNG.random((48, 40, 3)), (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
PHOTO = (PHOTO + RNG.normal(0, 6, (48, 40, 1))).clip(0, 255).astype(np.uint8)
MASK = cv2.ellipse(np.zeros((48, 40), np.uint8), (20, 26), (11, 16), 20, 0, 360, 1, -1)
STILL = data.Augmentation(rotation_degrees=0, scale=(1, 1), shift=0, flip=False, probability=0)


def _np(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _float(image):
    return image[None].astype("float32")


@pytest.mark.parametrize("outside", [0, 255])
def test_a_warp_is_opencvs(outside):
    augmentation = data.Augmentation(stretch=0.4, outside=outside)
    drawn = [augmentation.matrices((48, 40), (32, 32), np.random.default_rng(i)) for i in range(6)]
    matrices, flipped = (np.concatenate(part) for part in zip(*drawn, strict=True))
    pixels = (PHOTO.reshape(-1, 3), MASK.reshape(-1, 1))
    index, inverse = np.zeros(6, "int32"), np.linalg.inv(matrices)[:, :2].astype("float32")
    found = _np(on_device.warp(pixels[0], index, inverse, (48, 40), (32, 32), 128.0))
    labels = _np(on_device._labels(pixels[1], index, inverse, flipped, (48, 40), (32, 32), augmentation))
    for i in range(6):
        image, mask = augmentation.warp(PHOTO, MASK, (32, 32), np.random.default_rng(i))
        assert np.abs(found[i] - image).mean() < 1
        assert (labels[i, ..., 0] != mask).mean() < 0.02


def test_light_is_that_of_the_host():
    tone = _np(on_device.tone(_float(PHOTO), np.float32([1.7]), np.float32([1.2])))[0]
    assert np.abs(tone - light.tone(PHOTO, 1.7, 1.2)).max() <= 1.5
    numbers = (np.float32([part]) for part in (0.4, 0.7, 0.3, 0.2))
    shade = _np(on_device.shade(_float(PHOTO), *numbers))[0]
    assert np.abs(shade - light.shade(PHOTO, 0.4, 0.7, 0.3, 0.2)).max() <= 1.5


def test_colours_are_those_of_the_host():
    class Drawn:
        def __init__(self):
            self.values = iter((1.4, 0.7, 1.3, 1.0))

        def uniform(self, *_):
            return next(self.values)

    expected = data.Augmentation()._colour(PHOTO, Drawn()).astype(float)
    found = _np(on_device.colour(_float(PHOTO), *(np.float32([part]) for part in (1.4, 0.7, 1.3))))[0]
    assert np.abs(found - expected).mean() < 1.5


def test_a_filter_is_opencvs():
    kernels = on_device.gaussian(np.array([1.3, 0.0])).astype("float32")
    found = _np(on_device.filtered(np.stack([PHOTO, PHOTO]).astype("float32"), kernels))
    expected = cv2.filter2D(PHOTO.astype("float32"), -1, kernels[0])
    np.testing.assert_allclose(found[0], expected, atol=0.1)
    np.testing.assert_allclose(found[1], PHOTO, atol=1e-3)


@pytest.mark.parametrize("quality", [20, 60, 90])
def test_jpeg_keeps_what_a_jpeg_file_keeps(quality):
    image = PHOTO[:48, :32]
    found = _np(on_device.jpeg(_float(image), np.int32([quality])))[0]
    expected = light.jpeg(image, quality).astype(float)
    lost = np.abs(expected - image).mean()
    assert np.abs(found - expected).mean() < max(0.35 * lost, 1.5)
    whole = _np(on_device.jpeg(_float(image), np.int32([100])))[0]
    np.testing.assert_array_equal(whole, image)


def test_people_are_pasted_as_on_the_host():
    other, labels = PHOTO[::-1].copy(), MASK.copy()
    labels[20:24, 5:12] = 255
    image, found = on_device.paste(
        _float(PHOTO),
        np.zeros((1, 48, 40, 1), "int32"),
        _float(other),
        labels[None, ..., None].astype("int32"),
        on_device.gaussian(np.array([0.8])).astype("float32"),
    )
    expected, mask = compose.paste(PHOTO, np.zeros_like(MASK), other, labels, 0.8)
    assert np.abs(_np(image)[0] - expected).mean() < 1
    np.testing.assert_array_equal(_np(found)[0, ..., 0], mask)


def _samples(tmp_path, count=12):
    return pipeline.cache(data.load("folder", make_folder(tmp_path / "photos", count), "all"), (64, 64))


def test_untouched_photos_come_through_as_the_host_gives_them(tmp_path):
    samples = _samples(tmp_path)
    arguments = (samples, (32, 32), (16, 16), 4, STILL)
    host, device = (iter(module.training_batches(*arguments, seed=5, heads=2)) for module in (pipeline, on_device))
    for _ in range(4):
        (images, (labels, _)), (found, (found_labels, _)) = next(host), next(device)
        assert np.abs(_np(found).astype(float) - np.asarray(images)).mean() < 6  # prepared by another resampling
        assert (_np(found_labels) != np.asarray(labels)).mean() < 0.05


def test_everything_at_once_is_repeated_from_any_epoch(tmp_path):
    from keras_models.networks.pocketnet import SCENES

    samples = _samples(tmp_path)
    arguments = (samples, (32, 32), (32, 32), 4, SCENES)
    run = iter(on_device.training_batches(*arguments, seed=1))
    batches = [next(run) for _ in range(6)]
    again = next(iter(on_device.training_batches(*arguments, seed=1, first_epoch=1)))
    for one, other in zip(batches[3], again, strict=True):
        np.testing.assert_array_equal(_np(one), _np(other))
    images, labels = (np.concatenate([_np(batch[i]) for batch in batches]) for i in (0, 1))
    assert images.dtype == labels.dtype == np.uint8
    assert images.std() > 20 and set(np.unique(labels)) <= {0, 1, 255} and 0.02 < (labels == 1).mean() < 0.9


def test_augmentation_that_the_device_does_not_know_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(on_device, "_KNOWN", on_device._KNOWN - {"shadow"})
    with pytest.raises(UserError, match="shadow"):
        on_device.training_batches(
            _samples(tmp_path), (32, 32), (32, 32), 4, dataclasses.replace(STILL, shadow=0.5), seed=0
        )


def test_a_network_trains_on_photos_altered_on_the_device(tmp_path):
    folder = make_folder(tmp_path / "photos", 12)
    arguments = f"pocketnet_plain --dataset folder --data-dir {folder} --recipe tune --epochs 2 --input-size 32"
    assert train.main(f"{arguments} --augment-on device --output {tmp_path / 'run'}".split()) == 0
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3
