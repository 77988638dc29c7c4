"""Masks that networks draw: several averaged, from several views, with a confidence that orders the reviewer's work."""

import csv
import json
import sys

import cv2
import keras
import numpy as np
import pytest

from keras_models import data
from keras_models.command import UserError
from keras_models.data import drawings, label

SIZE = (32, 48)


def brightness(channels=1, gain=24.0, at=0.5, name="bright"):
    """A network that takes what is brighter than `at` for the person: logits (batch, 32, 48, channels)."""
    image = keras.Input((*SIZE, 3))
    convolution = keras.layers.Conv2D(channels, 1, name="head")
    model = keras.Model(image, convolution(image), name=name)
    kernel = np.zeros((1, 1, 3, channels), np.float32)
    kernel[..., -1] = gain / 255 / 3
    bias = np.zeros(channels, np.float32)
    bias[-1] = -gain * at
    convolution.set_weights([kernel, bias])
    return model


def discs(root, count=4):
    """Photos of a bright disc on a dark ground, the first of them hard to tell; their true masks."""
    root.mkdir()
    masks = {}
    for i in range(count):
        y, x = np.mgrid[:96, :120]
        inside = (x - 50 - 5 * i) ** 2 + (y - 48) ** 2 < 30**2
        image = np.where(inside, 150 if i == 0 else 230, 110 if i == 0 else 20).astype(np.uint8)
        cv2.imwrite(str(root / f"photo{i}.jpg"), cv2.merge([image] * 3), [cv2.IMWRITE_JPEG_QUALITY, 98])
        masks[f"photo{i}"] = inside
    return masks


@pytest.fixture
def place(tmp_path):
    brightness().save(tmp_path / "a.keras")
    brightness(2, name="two").save(tmp_path / "b.keras")
    return tmp_path


def run(place, *more, labeller="a.keras", output="out"):
    names = ",".join(str(place / name) for name in labeller.split(","))
    return label.main([str(place / "photos"), "--labeller", names, "-o", str(place / output), *more])


def listed(place, output="out"):
    with (place / output / "confidence.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--no-flip",),
        ("--scales", "0.8,1,1.3"),
        ("--refine", "guided"),
        ("--refine", "grabcut"),
    ],
    ids=" ".join,
)
def test_photos_get_their_masks(place, more):
    masks = discs(place / "photos")
    assert run(place, "--least", "0", *more) == 0
    for split in ("train", "val", "test"):
        assert not (place / "out" / f"{split}.txt").exists()
    for name, truth in masks.items():
        mask = cv2.imread(str(place / "out" / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert set(np.unique(mask)) == {0, 255}
        assert ((mask > 0) & truth).sum() / ((mask > 0) | truth).sum() > 0.93
        assert (place / "out" / "images" / f"{name}.jpg").read_bytes() == (
            place / "photos" / f"{name}.jpg"
        ).read_bytes()


def test_the_least_sure_come_first_and_those_below_the_limit_are_left_out_and_listed(place, capsys):
    discs(place / "photos")
    run(place, "--least", "0.9")
    rows = listed(place)
    assert rows[0]["image"] == "photo0.jpg"
    sure = [float(row["confidence"]) for row in rows]
    assert sure == sorted(sure)
    assert sure[0] < 0.9 < sure[1]
    assert [row["kept"] for row in rows] == ["no", "yes", "yes", "yes"]
    assert sorted(path.stem for path in (place / "out" / "images").iterdir()) == ["photo1", "photo2", "photo3"]
    assert "3 of 4 photos labelled, 1 left out" in capsys.readouterr().out


def test_where_no_photo_is_sure_enough_it_does_not_send_to_an_empty_review(place, capsys):
    discs(place / "photos")
    run(place, "--least", "1")
    said = capsys.readouterr().out
    assert "0 of 4 photos labelled" in said
    assert "Nothing to review: the surest photo has 0." in said
    assert "data review" not in said


def test_confidence_is_the_iou_to_be_expected():
    probability = np.full((40, 40), 0.1)
    probability[10:30, 10:30] = 0.8
    expected = 0.8 * 400 / (400 + 0.1 * 1200)
    assert label.confidence(np.stack([1 - probability, probability], -1)) == pytest.approx(expected)
    random = np.random.default_rng(0)
    mask = probability > 0.5
    truths = random.random((300, 40, 40)) < probability
    ious = [(truth & mask).sum() / (truth | mask).sum() for truth in truths]
    assert np.mean(ious) == pytest.approx(expected, abs=0.01)
    assert label.confidence(np.stack([np.ones((4, 4)), np.zeros((4, 4))], -1)) == 0


def test_labellers_that_disagree_lower_the_confidence(place):
    discs(place / "photos")
    brightness(at=0.95, name="strict").save(place / "strict.keras")
    run(place, "--least", "0", output="alone")
    run(place, "--least", "0", labeller="a.keras,b.keras,strict.keras", output="three")
    alone, three = ({row["image"]: float(row["confidence"]) for row in listed(place, o)} for o in ("alone", "three"))
    assert three["photo2.jpg"] < alone["photo2.jpg"] - 0.05
    assert "strict.keras" in (place / "three" / "SOURCE.md").read_text()


def test_views_are_averaged_where_they_see_the_photo(place):
    """A labeller that gives back what it sees, whatever the view, gives back the photo."""
    image = cv2.GaussianBlur(drawings.draw(3)[0], (0, 0), 8)

    def seen(views):
        person = views[..., 0] / np.float32(255)
        return np.stack([1 - person, person], -1)

    network = label.Labeller("mirror", (160, 160), label.CLASS_NAMES, [[0] * 3] * 2, seen, "")
    for scales in ((1.0,), (0.5,), (0.7,), (1.5,), (2.0,), (0.8, 1.0, 1.25)):
        found = label.average(image, network, scales, flip=True)
        assert found.shape == (*image.shape[:2], 2)
        assert np.abs(found[..., 1] - image[..., 0] / 255).mean() < 0.02


def test_classes_are_kept_on_demand(place):
    discs(place / "photos", 10)
    (place / "run").mkdir()
    brightness(3).save(place / "run" / "model.keras")
    classes = {"names": ["background", "hat", "coat"], "colors": [[0, 0, 0], [1, 2, 3], [4, 5, 6]]}
    (place / "run" / "run.json").write_text(json.dumps({"classes": classes}))
    run(place, "--classes", "--least", "0", labeller="run", output="parts")
    run(place, "--least", "0", labeller="run", output="person")
    parts, person = (data.load("folder", place / output, "train") for output in ("parts", "person"))
    assert parts.class_names == ("background", "hat", "coat")
    assert parts.colors == ((0, 0, 0), (1, 2, 3), (4, 5, 6))
    assert set(np.unique(parts.load(2)[1])) == {0, 2}
    assert person.class_names == ("background", "person")


def test_stopped_it_goes_on(place, monkeypatch):
    discs(place / "photos")
    whole, seen = label.label, []

    def twice(*arguments):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(label, "label", twice)
    with pytest.raises(KeyboardInterrupt):
        run(place, "--least", "0")
    with (place / "out" / "confidence.csv").open("a") as file:
        file.write("photo2.jpg,0.9")  # a power cut in the middle of a line
    assert run(place, "--least", "0") == 0
    assert len(seen) == 5
    assert sorted(row["image"] for row in listed(place)) == [f"photo{i}.jpg" for i in range(4)]
    with pytest.raises(UserError, match="begun with --least 0"):
        run(place, "--least", "0.5")


def test_a_wrong_labeller_leaves_nothing(place):
    discs(place / "photos")
    with pytest.raises(UserError, match="There is no model"):
        run(place, labeller="nowhere.keras")
    assert not (place / "out").exists()


def test_a_photo_that_cannot_be_read_is_listed(place):
    discs(place / "photos")
    (place / "photos" / "broken.jpg").write_bytes(b"nothing")
    run(place, "--least", "0")
    row = next(row for row in listed(place) if row["image"] == "broken.jpg")
    assert row["kept"] == "no"
    assert "no readable image" in row["note"]


def test_photos_of_one_name_are_refused(place):
    discs(place / "photos")
    (place / "photos" / "photo1.png").write_bytes(b"")
    with pytest.raises(UserError, match="have one stem"):
        run(place)


def test_mediapipe_is_asked_for_by_name(place, monkeypatch):
    discs(place / "photos")
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(UserError, match="pip install mediapipe"):
        label.labeller("mediapipe:selfie_segmenter.tflite")


def test_the_labellers_licence_is_named(place, capsys):
    discs(place / "photos")
    (place / "run").mkdir()
    brightness().save(place / "run" / "model.keras")
    (place / "run" / "card.json").write_text(json.dumps({"licence": "for the moon only"}))
    run(place, "--least", "0", labeller="run")
    assert "for the moon only" in capsys.readouterr().out
    assert "for the moon only" in (place / "out" / "SOURCE.md").read_text()
