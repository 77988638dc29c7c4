"""What bad luck and mistakes do to a dataset: each is named with its file and a remedy, none passes in silence."""

import os
import sys

import cv2
import numpy as np
import PIL.Image
import pytest
import scipy.io

from keras_models import data
from keras_models.command import UserError
from keras_models.data import Augmentation, listing
from keras_models.data.datasets import splits
from tests.test_data import SIZE, make_folder, read, write


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "photos")


def fifo(root):
    (root / "images/03.jpg").unlink()
    os.mkfifo(root / "images/03.jpg")


def mask_folder(root):
    (root / "masks/03.png").unlink()
    (root / "masks/03.png").mkdir()


def dangling(root):
    (root / "masks/03.png").unlink()
    (root / "masks/03.png").symlink_to(root / "nowhere.png")


def loop(root):
    (root / "masks/03.png").unlink()
    (root / "masks/03.png").symlink_to(root / "masks/03.png")


def huge(path):
    """A PNG of a few kilobytes that claims 20,000 x 20,000 pixels and holds them."""
    PIL.Image.new("1", (20_000, 20_000)).save(path)


def huge_mat(root):
    (root / "masks/03.png").unlink()
    scipy.io.savemat(root / "masks/03.mat", {"m": np.zeros((20_000, 20_000), np.uint8)}, do_compression=True)
    for path in (root / "masks").glob("*.png"):
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 255
        scipy.io.savemat(path.with_suffix(".mat"), {"m": labels})
        path.unlink()


def labelled_mat(root, value):
    for path in (root / "masks").glob("*.png"):
        labels = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 255).astype(np.float64)
        scipy.io.savemat(path.with_suffix(".mat"), {"m": np.where(labels > 0, value, 0)})
        path.unlink()
    (root / "classes.txt").write_text("\n".join(f"c{i}" for i in range(9)))


def lists(root, **names):
    for split, lines in names.items():
        (root / f"{split}.txt").write_text(lines)


MISTAKES = {
    "overlapping lists": (
        lambda root: lists(root, train="03\n04\n05", val="04\n07"),
        r"train.txt and val.txt share 1 photo\(s\): 04",
    ),
    "a photo named twice": (lambda root: lists(root, train="03\n04\n03.jpg"), "train.txt names 03 more than once"),
    "two photos of one stem": (
        lambda root: write(root / "images/03.png", np.zeros((*SIZE, 3), np.uint8)),
        "03.jpg and 03.png have one stem",
    ),
    "two masks of one stem": (lambda root: write(root / "masks/03.bmp", np.zeros(SIZE, np.uint8)), "have one stem"),
    "a list that is a folder": (lambda root: (root / "train.txt").mkdir(), "train.txt is no file"),
    "a list in UTF-16": (lambda root: (root / "train.txt").write_bytes("03".encode("utf-16")), "is not UTF-8"),
    "a list in Latin-1": (lambda root: (root / "train.txt").write_bytes("caf\xe9".encode("latin-1")), "is not UTF-8"),
    "a pipe": (fifo, "03.jpg is no file, but a folder or a pipe"),
    "a mask that is a folder": (mask_folder, "03.png is no file"),
    "a dangling link": (dangling, "Cannot read .*03.png: No such file"),
    "a loop of links": (loop, "Cannot read .*03.png: .*symbolic links"),
    "a huge photo": (lambda root: huge(root / "images/03.png") or (root / "images/03.jpg").unlink(), "too large"),
    "a huge mask": (lambda root: huge(root / "masks/03.png"), "03.png is too large: .*100 million pixels"),
    "a huge MATLAB file": (huge_mat, "03.mat is too large: 20000x20000"),
    "257 in MATLAB": (lambda root: labelled_mat(root, 257), "holds the label 257. Labels are whole numbers"),
    "-255 in MATLAB": (lambda root: labelled_mat(root, -255), "holds the label -255"),
    "1.5 in MATLAB": (lambda root: labelled_mat(root, 1.5), "holds the label 1.5"),
    "a mask as JPEG": (
        lambda root: (root / "masks/03.png").rename(root / "masks/03.jpg"),
        "03.jpg .its kind does not count here; those that are read end in .png",
    ),
    "only GIFs": (
        lambda root: [path.rename(path.with_suffix(".gif")) for path in (root / "images").iterdir()],
        "holds no file that ends in .*10 .gif",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(folder, mistake):
    act, message = MISTAKES[mistake]
    act(folder)
    with pytest.raises(UserError, match=message):
        read(folder)


def test_a_name_of_superscripts_is_a_name(folder):
    (folder / "classes.txt").write_text("a\nb ² ² ²", "utf-8")
    assert data.load("folder", folder).class_names == ("a", "b ² ² ²")


def test_a_byte_order_mark_is_no_part_of_a_name(folder):
    (folder / "train.txt").write_text("\ufeff03\n05\n", "utf-8")
    (folder / "classes.txt").write_text("\ufeffnothing\nsomebody\n", "utf-8")
    dataset = data.load("folder", folder)
    assert (dataset.names, dataset.class_names) == (("03", "05"), ("nothing", "somebody"))


def test_names_with_dots_are_names(folder):
    for kind in ("images/03.jpg", "masks/03.png"):
        path = folder / kind
        path.rename(path.with_name(f"anna.v2{path.suffix}"))
    (folder / "train.txt").write_text("anna.v2\n05.jpg\n")
    assert data.load("folder", folder).names == ("anna.v2", "05")


def test_two_named_classes_of_white_masks_are_no_void(folder):
    (folder / "classes.txt").write_text("nothing\nsomebody\n")
    dataset = data.load("folder", folder)
    assert dataset.class_names == ("nothing", "somebody")
    assert set(np.unique(dataset.load(0)[1])) == {0, 1}


def test_bursts_stay_in_one_split():
    stems = [
        f"IMG_2024010{day}_12{minute:02d}00_{shot:03d}" for day in (1, 2) for minute in range(15) for shot in range(4)
    ]
    found = listing.divide(stems)
    assert sorted(stem for names in found.values() for stem in names) == sorted(stems)
    places = {stem[:19]: {split for split, names in found.items() if stem in names} for stem in stems}
    assert all(len(splits) == 1 for splits in places.values())
    assert len(found["train"]) == pytest.approx(96, abs=4)
    assert "30 groups of one name kept together" in listing.division_note(stems)


def test_numbered_photos_are_no_burst(folder):
    stems = [f"photo_{i:03d}" for i in range(40)]
    assert [len(names) for names in listing.divide(stems).values()] == [32, 4, 4]
    assert (
        data.load("folder", folder).note
        == "No lists: the 10 photos are divided by their names: 8 train, 1 val, 1 test."
    )


def test_all_is_every_split(folder):
    everything = data.load("folder", folder, "all")
    assert sorted(everything.names) == [f"{i:02d}" for i in range(10)]
    (folder / "train.txt").write_text("01\n02\n")
    (folder / "test.txt").write_text("07\n")
    assert data.load("folder", folder, "all").names == ("01", "02", "07")


def mine(data_dir, split):
    """A dataset of one's own: every photo is grey, its left half a person."""
    labels = np.repeat([[1, 0]], 8, 0).repeat(6, 1).astype(np.uint8)
    return data.Dataset(f"mine {split}", ("a", "b"), lambda i: (np.full((8, 12, 3), 128, np.uint8), labels))


def test_a_dataset_of_ones_own(monkeypatch):
    direct = data.load("tests.test_data_mistakes:mine", None, "val")
    assert (direct.title, len(direct), direct.load(1)[1].mean()) == ("mine val", 2, 0.5)
    monkeypatch.setattr("keras_models.data.datasets._REGISTERED", {})
    data.register("mine", mine)
    assert "mine" in data.dataset_names()
    assert splits("mine", None) == ("train", "val", "test")
    assert len(data.load("mine", None, "all")) == 6
    with pytest.raises(ValueError, match="already"):
        data.register("mine", mine)
    with pytest.raises(UserError, match="No module named 'nowhere'"):
        data.load("nowhere:mine")
    with pytest.raises(UserError, match=r"must return a .* Received: int"):
        data.load("tests.test_data_mistakes:number")


def number(data_dir, split):
    return 3


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full((8, 12), 2, np.uint8), r"odd train, a: label 2 is no class. There are 2, 0 to 1, and 255"),
        (np.zeros((8, 11), np.uint8), r"Received: uint8 \(8, 12, 3\) and uint8 \(8, 11\)"),
        (np.zeros((8, 12), np.int64), r"Received: uint8 \(8, 12, 3\) and int64 \(8, 12\)"),
        ([[0]], r"and list"),
    ],
)
def test_a_dataset_of_ones_own_that_gives_something_else_is_named(monkeypatch, labels, said):
    def odd(data_dir, split):
        return data.Dataset(f"odd {split}", ("a",), lambda i: (np.zeros((8, 12, 3), np.uint8), labels))

    monkeypatch.setattr("keras_models.data.datasets._REGISTERED", {"odd": odd})
    with pytest.raises(UserError, match=said):
        data.load("odd").load(0)


def test_a_dataset_of_ones_own_that_fails_says_why(monkeypatch):
    def failing(data_dir, split):
        raise UserError("the scanner is off")

    monkeypatch.setattr("keras_models.data.datasets._REGISTERED", {"scans": failing})
    with pytest.raises(UserError, match="the scanner is off"):
        data.load("scans", None, "all")


def test_grey_masks_of_labels_and_void_are_not_guessed_at(folder):
    for path in (folder / "masks").iterdir():
        mask = np.minimum(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), 1)
        mask[:2] = 255
        cv2.imwrite(str(path), mask)
    with pytest.raises(UserError, match=r"has the values 0, 1 and 255. If they mean .* write a classes.txt"):
        data.load("folder", folder).load(0)
    (folder / "classes.txt").write_text("background\nperson\n")
    assert sorted(np.unique(data.load("folder", folder).load(0)[1])) == [0, 1, 255]


def test_heic_is_read_or_says_what_it_needs(folder, monkeypatch):
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install pillow-heif")
    photo = cv2.cvtColor(cv2.imread(str(folder / "images/03.jpg")), cv2.COLOR_BGR2RGB)
    (folder / "images/03.jpg").unlink()
    heif.from_pillow(PIL.Image.fromarray(photo)).save(folder / "images/03.HEIC", quality=95)
    found = data.read_image(folder / "images/03.HEIC")
    assert np.abs(found.astype(int) - photo).mean() < 12
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"03.HEIC is a HEIC photo. To read it: pip install pillow-heif"):
        read(folder)


@pytest.mark.parametrize(
    "numbers",
    [
        {"scale": (0.5,)},
        {"scale": (1.5, 0.5)},
        {"scale": (0.0, 1.0)},
        {"shift": float("nan")},
        {"rotation_degrees": -3},
        {"noise": float("inf")},
        {"stretch": -1},
        {"blur": (2,)},
    ],
)
def test_augmentation_refuses_what_is_no_number_of_its_range(numbers):
    with pytest.raises(UserError, match=next(iter(numbers)).replace("_", "[-_]")):
        Augmentation(**numbers)


def test_training_says_that_masks_look_inverted(folder):
    (folder / "images/03.jpg").write_bytes(b"broken")  # which is said elsewhere
    assert data.inverted_note(data.load("folder", folder, "all")) == ""
    for mask in (folder / "masks").iterdir():
        write(mask, 255 - cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))
    assert "9 of 9 masks" in data.inverted_note(data.load("folder", folder, "all"))
    (folder / "classes.txt").write_text("background\nperson\ncar\n")
    assert data.inverted_note(data.load("folder", folder, "all")) == ""
