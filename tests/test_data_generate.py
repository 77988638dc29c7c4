"""Portraits out of photos of whole people: the box is head and shoulders, what comes out is a dataset to train on."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_models import command, data
from keras_models.command import UserError
from keras_models.data import backdrops, faces, generate
from keras_models.data.images import read_image
from tests.shared import SHARED, needs_shared

FACE = (100, 60, 40, 40)  # left, top, width, height, in photos of 240x320 (width x height)


def one_face(image):
    """A detector that finds the white square that is a face, and one that is none on the coat, of which it is surer."""
    faces = bright_faces(image)
    return np.concatenate([faces, np.add(faces, [0, 120, 0, 0, 9])])


def bright_faces(image):
    """Every white square is a face."""
    _, _, boxes, _ = cv2.connectedComponentsWithStats((image.min(-1) > 240).astype(np.uint8))
    return np.array([[*box[:4], box[4]] for box in boxes[1:]], float).reshape(-1, 5)


def no_face(image):
    return np.zeros((0, 5))


def people(root, count=10, void=False):
    """Photos of a person each, a white face on a grey body, and their masks."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(count):
        image, mask = np.full((320, 240, 3), 90, np.uint8), np.zeros((320, 240), np.uint8)
        left, top, width, height = FACE
        cv2.rectangle(mask, (left - 30, top - 20), (left + width + 30, 319), 255, -1)
        image[mask > 0] = 160
        image[top : top + height, left : left + width] = 255
        cv2.imwrite(str(root / "images" / f"{i:02d}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{i:02d}.png"), mask)
    return root


def run(root, output, *more, detector="one_face"):
    return generate.main([str(root), "-o", str(output), "--detector", f"tests.test_data_generate:{detector}", *more])


def test_the_portrait_is_head_and_shoulders():
    assert faces.portrait_box(np.array([100, 80, 40, 40, 1]), (400, 400)) == (50, 44, 190, 192)
    left, top, right, bottom = faces.portrait_box(np.array([10, 5, 40, 40, 1]), (100, 90))
    assert (left, top, right, bottom) == (0, 0, 90, 100)  # within the photo


def test_a_face_on_the_coat_is_no_portrait(tmp_path, capsys):
    assert run(people(tmp_path / "people"), tmp_path / "out") == 0
    facts = json.loads((tmp_path / "out" / "generated.json").read_text())
    assert len(facts["portraits"]) == 10
    assert facts["portraits"][0]["face"][:4] == list(FACE)
    assert "10 portraits from 10 of 10 photos (100.0%)" in capsys.readouterr().out


def test_photo_and_mask_are_cut_alike_and_the_splits_stay(tmp_path):
    root = people(tmp_path / "people")
    run(root, tmp_path / "out")
    for split, count in (("train", 8), ("val", 1), ("test", 1)):
        before, after = (data.load("folder", folder, split) for folder in (root, tmp_path / "out"))
        assert after.names == before.names
        assert len(after) == count
    image, labels = after.load(0)
    whole, mask = before.load(0)
    box = faces.portrait_box(np.array([*FACE, 1]), mask.shape)
    np.testing.assert_array_equal(labels, mask[box[1] : box[3], box[0] : box[2]])
    assert np.abs(image.astype(int) - whole[box[1] : box[3], box[0] : box[2]]).mean() < 2
    assert (tmp_path / "out" / "contact_sheet.jpg").is_file()


def test_zooms_cut_the_same_face_at_several_widths(tmp_path):
    run(people(tmp_path / "people"), tmp_path / "out", "--zooms", "1,2", "--min-side", "64")
    portraits = json.loads((tmp_path / "out" / "generated.json").read_text())["portraits"]
    assert len(portraits) == 20
    names = {name for split in ("train", "val", "test") for name in data.load("folder", tmp_path / "out", split).names}
    assert {"00", "00_x2"} <= {name.partition(".")[0] for name in names}
    for portrait in portraits:
        left, top, right, bottom = portrait["box"]
        assert (right - left, bottom - top) == {1: (140, 148), 2: (70, 74)}[portrait["zoom"]]


def test_portraits_of_photos_that_a_mix_holds_out_are_for_validation(tmp_path):
    people(tmp_path / "people")
    mix = tmp_path / "mix.toml"
    mix.write_text('[[set]]\ndataset = "folder"\ndata_dir = "people"\ntrain = "all"\nholdout = 0.5\n')
    assert run(mix, tmp_path / "out", "--dataset", "mix") == 0
    held = {split: {Path(name).stem for name in data.load("mix", mix, split).names} for split in ("train", "val")}
    made = {split: {Path(n).stem for n in data.load("folder", tmp_path / "out", split).names} for split in held}
    assert made == held and all(made.values())


def test_photos_of_one_name_in_two_sets_are_refused(tmp_path):
    mix = tmp_path / "mix.toml"
    mix.write_text("".join(f'[[set]]\ndataset = "folder"\ndata_dir = "{name}"\n' for name in ("a", "b")))
    people(tmp_path / "a")
    people(tmp_path / "b")
    with pytest.raises(UserError, match="one portrait: 00"):
        run(mix, tmp_path / "out", "--dataset", "mix")
    assert not (tmp_path / "out").exists()


def test_a_zoom_given_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a number twice\. Received: 1,1\.5,1"):
        run(people(tmp_path / "people"), tmp_path / "out", "--zooms", "1,1.5,1")


def test_a_zoom_too_small_to_use_is_left_out(tmp_path):
    run(people(tmp_path / "people"), tmp_path / "out", "--zooms", "1,2", "--min-side", "100")
    portraits = json.loads((tmp_path / "out" / "generated.json").read_text())["portraits"]
    assert {portrait["zoom"] for portrait in portraits} == {1}


def test_backdrops_are_smooth_and_follow_from_the_seed(tmp_path):
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photos" / "sharp.png"), noise)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = ["--photos", str(tmp_path / "photos"), "--count", "6", "--seed", str(seed)]
        assert backdrops.main([*options, "-o", str(tmp_path / name)]) == 0
    a, b, c = ([read_image(path) for path in sorted((tmp_path / name / "images").iterdir())] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not any(np.array_equal(one, other) for one, other in zip(a, c, strict=True))
    for image in a:
        assert image.shape == (256, 256, 3)
        steps = np.abs(np.diff(image.astype(int), axis=0)).mean()
        assert steps < 8 < np.abs(np.diff(noise.astype(int), axis=0)).mean()


def test_backdrops_join_a_mix(tmp_path):
    backdrops.main(["--count", "3", "-o", str(tmp_path / "backdrops")])
    people(tmp_path / "people")
    (tmp_path / "mix.toml").write_text(
        '[[set]]\ndataset = "folder"\ndata_dir = "people"\n[[set]]\ndataset = "background"\ndata_dir = "backdrops"\n'
    )
    mixed = data.load("mix", tmp_path / "mix.toml", "train")
    assert len(mixed) == 8 + 3
    assert not mixed.load(10)[1].any()


def test_backdrops_of_a_folder_without_photos(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="photos holds no file"):
        backdrops.main(["--photos", str(tmp_path / "photos"), "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_classes_and_void_survive(tmp_path):
    root = people(tmp_path / "people")
    for path in (root / "masks").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 255
        mask[150:] *= 2
        mask[:50] = 255
        cv2.imwrite(str(path), mask)
    (root / "classes.txt").write_text("background 0 0 0\nupper 10 20 30\nlower 40 50 60\n")
    run(root, tmp_path / "out")
    dataset = data.load("folder", tmp_path / "out", "test")
    assert dataset.class_names == ("background", "upper", "lower")
    assert dataset.colors[1:] == ((10, 20, 30), (40, 50, 60))
    assert set(np.unique(dataset.load(0)[1])) <= {0, 1, 2, 255}
    assert 255 in dataset.load(0)[1]


def test_the_licence_comes_along(tmp_path, capsys):
    root = people(tmp_path / "people")
    run(root, tmp_path / "unknown")
    assert "no LICENSE" in (tmp_path / "unknown" / "SOURCE.md").read_text()
    (root / "LICENSE").write_text("Do what you like.")
    run(root, tmp_path / "known")
    assert (tmp_path / "known" / "LICENSE").read_text() == "Do what you like."
    assert "LICENSE" in (tmp_path / "known" / "SOURCE.md").read_text()


def test_every_face_gives_a_portrait(tmp_path):
    root = people(tmp_path / "people", 3)
    for path in (root / "images").iterdir():
        image = cv2.imread(str(path))
        image[160:200, 15:55] = 255
        cv2.imwrite(str(path), image)
        mask = cv2.imread(str(root / "masks" / path.name), cv2.IMREAD_GRAYSCALE)
        mask[140:, :66] = 255  # a second, smaller person
        cv2.imwrite(str(root / "masks" / path.name), mask)
    (root / "train.txt").write_text("00\n01\n02\n")
    run(root, tmp_path / "one", detector="bright_faces")
    run(root, tmp_path / "all", "--every-face", detector="bright_faces")
    assert len(list((tmp_path / "one" / "images").iterdir())) == 3
    assert sorted(path.stem for path in (tmp_path / "all" / "images").iterdir()) == [
        f"{i:02d}{suffix}" for i in range(3) for suffix in ("", "_2")
    ]


def test_what_a_cascade_takes_for_a_face_on_a_coat_is_none():
    labels = np.zeros((320, 240), np.uint8)
    labels[40:, 70:170] = 1
    assert faces.on_person(np.array([100, 60, 40, 40]), labels)
    assert faces.on_person(np.array([100, 85, 40, 40]), labels)  # under a high hat
    assert not faces.on_person(np.array([100, 180, 40, 40]), labels)
    assert not faces.on_person(np.array([10, 60, 40, 40]), labels)
    assert not faces.on_person(np.array([230, 60, 40, 40]), labels)


def test_nothing_is_left_behind_where_no_face_is_found(tmp_path):
    root = people(tmp_path / "people")
    with pytest.raises(UserError, match="finds no face"):
        run(root, tmp_path / "out", detector="no_face")
    assert [path.name for path in tmp_path.iterdir()] == ["people"]


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ("viola", "Valid names: haar"),
        ("tests.nowhere:find", "no face detector"),
        ("tests.small:find", "no face detector"),
    ],
)
def test_an_unknown_detector_is_named(detector, message):
    with pytest.raises(UserError, match=message):
        faces.detectors(detector)


def test_what_is_there_is_not_written_over(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="there already"):
        run(people(tmp_path / "people"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), command.whole_folder(tmp_path / "out") as folder:
        (folder / "half.txt").write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@needs_shared
def test_haar_finds_faces_on_ccp_and_the_portraits_hold_a_person(tmp_path):
    root = SHARED / "data" / "clothing-co-parsing"
    dataset = data.load("ccp", root, "val").subset(range(0, 98, 14), "some")
    options = generate.GenerateOptions(str(root), str(tmp_path / "out"), "ccp")
    figures = generate.generate({"val": dataset}, faces.detectors("haar"), options, tmp_path / "out")
    assert len(figures["portraits"]) >= 5
    for name in (portrait["name"] for portrait in figures["portraits"]):
        mask = cv2.imread(str(tmp_path / "out" / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        assert 0.15 < (mask > 0).mean() < 0.85
