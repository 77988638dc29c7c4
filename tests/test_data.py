"""Datasets, augmentation and the pipeline, on small photos made here; every broken file is named."""

import dataclasses
import os

import cv2
import numpy as np
import pytest
import scipy.io

from keras_models import data
from keras_models.command import UserError
from keras_models.data import Augmentation, drawings, pipeline
from keras_models.data.datasets import in_order, read_each
from tests.shared import SHARED, needs_shared

SIZE = (48, 40)


def make_folder(root, count=10):
    """A folder dataset of drawings at 48x40."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(count):
        image, labels = drawings.draw(i)
        write(root / "images" / f"{i:02d}.jpg", data.prepare_image(image, SIZE)[..., ::-1])
        write(root / "masks" / f"{i:02d}.png", data.prepare_mask(labels, SIZE) * 255)
    return root


def write(path, image):
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "photos")


def read(root, split="train"):
    return list(read_each(data.load("folder", root, split), lambda image, labels: (image, labels)))


def test_folder_without_lists_is_split_in_three(folder):
    names = [data.load("folder", folder, split).names for split in ("train", "val", "test")]
    assert [len(n) for n in names] == [8, 1, 1]
    assert len(set().union(*names)) == 10


def test_folder_follows_its_lists(folder):
    (folder / "train.txt").write_text("03\n05.jpg\n")
    assert data.load("folder", folder, "train").names == ("03", "05")
    with pytest.raises(UserError, match=r"no .*val\.txt"):
        data.load("folder", folder, "val")


def test_labels_are_the_mask(folder):
    image, labels = read(folder)[0]
    assert image.shape == (*SIZE, 3)
    assert set(np.unique(labels)) == {0, 1}


def palette_png(path):
    """A 48x40 PNG with a palette, written by hand: OpenCV cannot write one."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes([x % 2 for x in range(40)]) for _ in range(48))
    header = struct.pack(">IIBBBBB", 40, 48, 8, 3, 0, 0, 0)
    body = (
        chunk(b"IHDR", header) + chunk(b"PLTE", bytes([0, 0, 0, 255, 255, 255])) + chunk(b"IDAT", zlib.compress(rows))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))


BREAKAGES = {
    "unreadable photo": (lambda root: (root / "images/03.jpg").write_bytes(b"no photo"), "03.jpg is no readable image"),
    "empty photo": (lambda root: (root / "images/03.jpg").write_bytes(b""), r"03.jpg is no readable image \(0 bytes"),
    "unreadable mask": (lambda root: (root / "masks/03.png").write_bytes(b"\x89PNG"), "03.png is no readable image"),
    "other size": (lambda root: write(root / "masks/03.png", np.zeros((20, 30), np.uint8)), "03.png is 30x20, but its"),
    "three channels": (lambda root: write(root / "masks/03.png", np.zeros((48, 40, 3), np.uint8)), "has 3 channels"),
    "palette": (lambda root: palette_png(root / "masks/03.png"), "03.png holds labels"),
    "0/1 for 0/255": (lambda root: write(root / "masks/03.png", np.ones((48, 40), np.uint8)), "values 0 and 1"),
    "16 bits": (lambda root: write(root / "masks/03.png", np.ones((48, 40), np.uint16)), "uint16"),
    "no mask": (lambda root: (root / "masks/03.png").unlink(), r"masks.03\.\* \(listed, not there\)"),
    "no photo": (lambda root: (root / "train.txt").write_text("77\n"), r"images.77\.\* \(listed, not there\)"),
    "empty list": (lambda root: (root / "train.txt").write_text("\n"), "train.txt is empty"),
    "no masks folder": (lambda root: (root / "masks").rename(root / "labels"), "There is no folder .*masks"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_broken_data_is_named(folder, breakage):
    act, message = BREAKAGES[breakage]
    act(folder)
    with pytest.raises(UserError, match=message):
        read(folder)


def test_every_broken_photo_is_named_at_once(folder):
    for i in (0, 4):
        (folder / f"images/{i:02d}.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match=r"2 of 8 .* broken(.|\n)*00\.jpg(.|\n)*04\.jpg"):
        read(folder)


def test_exif_orientation_turns_the_photo(folder):
    path = folder / "images" / "00.jpg"
    jpeg = path.read_bytes()
    # An Exif block with the one tag 0x0112 (orientation) = 6: the camera was held upright.
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    body = b"Exif\0\0" + tiff
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:])
    assert data.read_image(path).shape == (SIZE[1], SIZE[0], 3)


def test_ccp_person_is_every_pixel_that_is_not_null(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "annotations" / "pixel-level").mkdir(parents=True)
    truth = np.zeros(SIZE, np.uint8)
    truth[10:20, 5:15] = 41
    for i in range(10):
        write(tmp_path / "photos" / f"{i:04d}.jpg", np.zeros((*SIZE, 3), np.uint8))
        scipy.io.savemat(tmp_path / "annotations" / "pixel-level" / f"{i:04d}.mat", {"groundtruth": truth})
    _, labels = data.load("ccp", tmp_path, "train").load(0)
    np.testing.assert_array_equal(labels, truth > 0)
    (tmp_path / "annotations" / "pixel-level" / "0000.mat").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"0000\.mat is no MATLAB file"):
        data.load("ccp", tmp_path, "train").load(0)


@needs_shared
@pytest.mark.parametrize(("name", "folder"), [("eg1800", "eg1800"), ("ccp", "clothing-co-parsing")])
def test_published_datasets_are_read(name, folder):
    dataset = data.load(name, SHARED / "data" / folder, "val")
    image, labels = dataset.load(0)
    assert image.shape[:2] == labels.shape
    assert 0.02 < labels.mean() < 0.9


def test_drawings_repeat_and_differ():
    first, again, other = (drawings.draw(seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()
    assert 0.1 < first[1].mean() < 0.8


def test_augmentation_moves_photo_and_mask_together():
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:45, 30:60] = 255
    labels = (image[..., 0] > 0).astype(np.uint8)
    geometric = Augmentation(probability=0.0, stretch=0.2)
    for seed in range(20):
        moved, moved_labels = geometric(image, labels, (64, 64), np.random.default_rng(seed))
        inside, outside = moved[moved_labels == 1], moved[(moved_labels == 0) & (moved[..., 0] != 128)]
        assert set(np.unique(moved_labels)) <= {0, 1}
        assert np.mean(inside > 127) > 0.97
        assert outside.size == 0 or np.mean(outside < 130) > 0.95


def test_augmentation_changes_colours_within_the_labels_it_keeps():
    image, labels = drawings.draw(1)
    still = Augmentation(rotation_degrees=0, scale=(1, 1), shift=0, flip=False, probability=1.0)
    changed, same = still(image, labels, image.shape[:2], np.random.default_rng(0))
    np.testing.assert_array_equal(same, labels)
    assert np.abs(changed.astype(int) - image).mean() > 2


def test_a_flip_moves_nothing_by_a_pixel():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    labels = (image[..., 0] > 127).astype(np.uint8)
    flips, seen = Augmentation(rotation_degrees=0, scale=(1, 1), shift=0, probability=0), set()
    for seed in range(6):
        moved, moved_labels = flips(image, labels, (24, 32), np.random.default_rng(seed))
        flipped = bool((moved_labels != labels).any())
        seen.add(flipped)
        np.testing.assert_array_equal(moved, image[:, ::-1] if flipped else image)
        np.testing.assert_array_equal(moved_labels, labels[:, ::-1] if flipped else labels)
    assert seen == {True, False}


def test_augmentation_scales_as_the_evaluation_does():
    image, labels = drawings.draw(2)
    still = Augmentation(rotation_degrees=0, scale=(1, 1), shift=0, flip=False, probability=0)
    scaled, _ = still(image, labels, (160, 120), np.random.default_rng(0))
    assert np.abs(scaled.astype(int) - data.prepare_image(image, (160, 120))).mean() < 0.5


def counted(dataset, reads):
    """`dataset` that notes which photos are read."""
    return dataclasses.replace(dataset, load=lambda i: (reads.append(i), dataset.load(i))[1])


def test_the_cache_streams_beyond_its_limit():
    reads, whole = [], data.load("drawings").subset(range(12), "twelve")
    samples = pipeline.cache(counted(whole, reads), (32, 24), limit=5 * 36 * 48 * 4)
    assert sorted(reads) == list(range(12))
    reads.clear()
    for i, expected in enumerate(pipeline.cache(whole, (32, 24))):
        for part, wanted in zip(samples[i], expected, strict=True):
            np.testing.assert_array_equal(part, wanted)
    assert reads == list(range(5, 12))
    assert len(samples) == 12
    counts = sum(np.bincount(labels.ravel(), minlength=256) for _, labels in samples)
    np.testing.assert_array_equal(samples.label_counts, counts)


def test_the_cache_keeps_what_the_augmentation_zooms_into():
    image = np.zeros((400, 400, 3), np.uint8)
    dataset = data.Dataset("one", ("a",), lambda i: (image, image[..., 0]))
    zooming = Augmentation(scale=(0.5, 2.0), stretch=0.2)
    assert pipeline.cache(dataset, (100, 100), zoom=zooming.zoom)[0][0].shape[0] == round(200 * 1.2**0.5)
    assert pipeline.cache(dataset, (100, 100))[0][0].shape[0] == 150


def test_what_is_read_ahead_is_bounded():
    made = []
    for done, i in enumerate(in_order(lambda i: made.append(i) or i, 500)):
        assert i == done
        assert len(made) <= done + 1 + 2 * os.cpu_count()


def batches(seed, first_epoch, count):
    samples = [drawings.draw(i) for i in range(5)]
    dataset = pipeline.training_batches(
        samples, (32, 32), (8, 8), 2, Augmentation(), seed=seed, first_epoch=first_epoch
    )
    return [tuple(np.asarray(part) for part in batch) for _, batch in zip(range(count), dataset, strict=False)]


def test_other_backends_see_the_batches_of_tensorflow(monkeypatch):
    expected = batches(seed=1, first_epoch=3, count=5)
    monkeypatch.setattr(pipeline, "_backend", lambda: "jax")
    for batch, wanted in zip(batches(seed=1, first_epoch=3, count=5), expected, strict=True):
        for part, wanted_part in zip(batch, wanted, strict=True):
            np.testing.assert_array_equal(part, wanted_part)


def test_evaluation_batches_hold_every_photo_once():
    dataset = data.load("drawings").subset(range(7), "seven")
    for limit in (None, 0):
        found = list(pipeline.evaluation_batches(dataset, (32, 24), (16, 12), 3, limit=limit))
        assert [images.shape for images, _ in found] == [(3, 32, 24, 3), (3, 32, 24, 3), (1, 32, 24, 3)]
        labels = np.concatenate([labels for _, labels in found])
        np.testing.assert_array_equal(labels[6, ..., 0], data.prepare_mask(drawings.draw(6)[1], (32, 24))[::2, ::2])


def test_pipeline_repeats_and_goes_on_from_any_epoch():
    whole = batches(seed=1, first_epoch=0, count=6)  # two batches an epoch
    again = batches(seed=1, first_epoch=2, count=2)
    for (image, labels), (image_again, labels_again) in zip(whole[4:], again, strict=True):
        np.testing.assert_array_equal(image, image_again)
        np.testing.assert_array_equal(labels, labels_again)
    assert whole[0][0].shape == (2, 32, 32, 3)
    assert whole[0][1].shape == (2, 8, 8, 1)
    assert (whole[0][0] != batches(seed=2, first_epoch=0, count=1)[0][0]).any()


def test_labels_shrink_as_pytorch_nearest_does():
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(pipeline.subsample(labels, (2, 2)), labels[::4, ::4])


def test_calibration_images_are_a_recorded_draw(folder):
    names, images = data.calibration_images(folder, 4, (24, 24), seed=5)
    again, _ = data.calibration_images(folder, 4, (24, 24), seed=5)
    assert names == again
    assert images.shape == (4, 24, 24, 3)
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="It holds: nothing"):
        data.calibration_images(folder / "empty", 4, (24, 24))
