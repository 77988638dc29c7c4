"""Data of several classes: grey, palette and MATLAB masks, street scenes, body parts; measured and drawn."""

import json

import cv2
import numpy as np
import PIL.Image
import pytest
import scipy.io

from keras_models import data, evaluate, models, pictures, predict, train
from keras_models.command import UserError
from keras_models.data import parts
from tests.test_data import SIZE, make_folder, read, write
from tflite import convert

NAMES = ("background", "ball", "box")
COLORS = ((0, 0, 0), (250, 10, 10), (10, 10, 250))


def scene(seed):
    """A red disc and a blue square on grey: RGB uint8 and labels uint8 with some void, 48x40."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SIZE, np.uint8)
    cv2.circle(labels, tuple(int(v) for v in rng.integers(8, 32, 2)), 9, 1, -1)
    x, y = (int(v) for v in rng.integers(2, 26, 2))
    labels[y : y + 12, x : x + 12] = 2
    image = np.clip(np.array(COLORS)[labels] + rng.integers(0, 60, (*SIZE, 3)), 0, 255).astype(np.uint8)
    labels[:2] = 255
    return image, labels


def save_palette(path, labels):
    picture = PIL.Image.fromarray(labels)
    picture.putpalette(bytes(range(256)) * 3)
    picture.save(path)


SAVERS = {
    "grey": (".png", write),
    "palette": (".png", save_palette),
    "matlab": (".mat", lambda path, labels: scipy.io.savemat(path, {"truth": labels})),
}


def make_scenes(root, kind="grey", count=12, classes="background\nball\nbox"):
    suffix, save = SAVERS[kind]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text(classes)
    for i in range(count):
        image, labels = scene(i)
        write(root / "images" / f"{i:02d}.png", image[..., ::-1])
        save(root / "masks" / f"{i:02d}{suffix}", labels)
    return root


@pytest.mark.parametrize("kind", SAVERS)
def test_masks_of_several_classes(tmp_path, kind):
    dataset = data.load("folder", make_scenes(tmp_path, kind), "train")
    assert dataset.class_names == NAMES
    image, labels = dataset.load(dataset.names.index("03"))
    np.testing.assert_array_equal(labels, scene(3)[1])
    np.testing.assert_array_equal(image, scene(3)[0])


def test_class_list_may_give_colours_and_names_of_several_words(tmp_path):
    root = make_scenes(tmp_path, classes="background 0 0 0\n\nfoot ball 255 0 0\nbox 0 0 255\n")
    dataset = data.load("folder", root, "train")
    assert dataset.class_names == ("background", "foot ball", "box")
    assert pictures.class_colors(dataset)[2].tolist() == [0, 0, 255]


BREAKAGES = {
    "unknown label": (lambda root: write(root / "masks/03.png", np.full(SIZE, 7, np.uint8)), "03.png holds the label"),
    "colours": (lambda root: write(root / "masks/03.png", np.zeros((*SIZE, 3), np.uint8)), "03.png has 3 channels"),
    "16 bits": (lambda root: write(root / "masks/03.png", np.zeros(SIZE, np.uint16)), "03.png has uint16"),
    "one class": (lambda root: (root / "classes.txt").write_text("person\n"), r"classes.txt must name 2 to 255"),
    "same name twice": (lambda root: (root / "classes.txt").write_text("a\nb\na\n"), r"classes.txt must name"),
    "colour out of range": (
        lambda root: (root / "classes.txt").write_text("a 1 2 300\nb 1 2 3"),
        "a colour is three numbers",
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_what_is_wrong_is_named(tmp_path, breakage):
    root = make_scenes(tmp_path)
    apply, message = BREAKAGES[breakage]
    apply(root)
    with pytest.raises(UserError, match=message):
        read(root)


def test_damaged_matlab_mask_is_named(tmp_path):
    root = make_scenes(tmp_path, "matlab")
    (root / "masks/03.mat").write_bytes(b"MATLAB 5.0")
    scipy.io.savemat(root / "masks/04.mat", {"a": np.zeros(SIZE), "b": np.zeros(SIZE)})
    with pytest.raises(UserError, match=r"03\.mat is no MATLAB file(.|\n)*04\.mat has no array of labels"):
        read(root)


@pytest.mark.parametrize("kind", SAVERS)
def test_labels_without_a_list_get_numbers_for_names(tmp_path, kind):
    root = make_scenes(tmp_path, kind)
    (root / "classes.txt").unlink()
    dataset = data.load("folder", root, "train")
    assert dataset.class_names == ("background", "class 1", "class 2")
    np.testing.assert_array_equal(dataset.load(dataset.names.index("03"))[1], scene(3)[1])


def test_smoothed_foreground_masks_are_no_labels(tmp_path):
    root = make_folder(tmp_path)
    for path in (root / "masks").iterdir():
        write(path, cv2.GaussianBlur(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (5, 5), 0))
    dataset = data.load("folder", root, "train")
    assert dataset.class_names == ("background", "person")
    assert set(np.unique(dataset.load(0)[1])) == {0, 1}


@pytest.mark.parametrize("folders", [("train/images", "train/labels"), ("train", "trainannot")])
def test_camvid_in_both_its_layouts(tmp_path, folders):
    for folder, picture in zip(folders, (np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, 11, np.uint8)), strict=True):
        (tmp_path / folder).mkdir(parents=True)
        picture[0] = 3
        write(tmp_path / folder / "0001.png", picture)
    dataset = data.load("camvid", tmp_path, "train")
    labels = dataset.load(0)[1]
    assert dataset.class_names[3] == "road"
    assert (labels[0] == 3).all()
    assert (labels[1:] == 255).all()
    with pytest.raises(UserError, match=r"no test split of camvid\. It has: train"):
        data.load("camvid", tmp_path, "test")


def one_photo(images, masks, value):
    """A photo and its mask, all of one stored value but for a first row of 255."""
    mask = np.full(SIZE, value, np.uint8)
    mask[0] = 255
    for path, picture, save in ((images, np.zeros((*SIZE, 3), np.uint8), write), (masks, mask, save_palette)):
        path.parent.mkdir(parents=True)
        save(path, picture)


LAYOUTS = {
    "lip": ("TrainVal_images/train_images/7.jpg", "TrainVal_parsing_annotations/train_segmentations/7.png", 15),
    "atr_parts": ("JPEGImages/7.jpg", "SegmentationClassAug/7.png", 11),
    "cityscapes": ("leftImg8bit/train/ulm/7_leftImg8bit.png", "gtFine/train/ulm/7_gtFine_labelIds.png", 26),
    "voc_person": ("JPEGImages/7.jpg", "SegmentationClass/7.png", 15),
}
NAMED = {"lip": "right arm", "atr_parts": "head", "cityscapes": "car", "voc_person": "person"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts(name, tmp_path):
    images, masks, stored = LAYOUTS[name]
    one_photo(tmp_path / images, tmp_path / masks, stored)
    (tmp_path / "train.txt").write_text("7\n")
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("7\n")
    dataset = data.load(name, tmp_path, "train")
    labels = dataset.load(0)[1]
    assert dataset.class_names[labels[5, 5]] == NAMED[name]
    assert (labels[0] == 255).all()
    one_photo(tmp_path / "other" / images, tmp_path / "more" / masks, 99)
    (tmp_path / "more" / masks).replace(tmp_path / masks)
    with pytest.raises(UserError, match="holds the value 99"):
        dataset.load(0)


def test_grey_person_masks_of_pascal_voc_have_a_void_of_their_own(tmp_path):
    one_photo(tmp_path / "images/7.jpg", tmp_path / "masks/7.png", 0)
    mask = np.repeat(np.array([[0, 128, 255]], np.uint8), SIZE[0], 0).repeat([10, 10, 20], 1)
    write(tmp_path / "masks/7.png", mask)
    (tmp_path / "train.txt").write_text("7")
    assert data.load("voc_person", tmp_path, "train").load(0)[1][0, [5, 15, 30]].tolist() == [0, 255, 1]


def test_a_flip_exchanges_left_and_right():
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :10] = 14
    labels[:, 30:] = 15
    image = np.zeros((*SIZE, 3), np.uint8)
    still = data.Augmentation(rotation_degrees=0, scale=(1, 1), shift=0, mirrored=((14, 15),))
    seen = {still.warp(image, labels, SIZE, np.random.default_rng(seed))[1][5, 5] for seed in range(8)}
    assert seen == {14}  # mirrored or not, the left arm is at the left


def person():
    """CCP labels of somebody in a dress, 100 pixels tall: hair, face, arms, legs, shoes and a bag."""
    labels = np.zeros((120, 60), np.uint8)
    for name, rows, columns in (
        ("hair", (10, 18), (25, 35)),
        ("skin", (18, 30), (25, 35)),
        ("dress", (30, 75), (22, 38)),
        ("skin", (32, 60), (14, 21)),
        ("skin", (75, 104), (25, 35)),
        ("shoes", (104, 110), (25, 35)),
        ("bag", (50, 60), (45, 55)),
    ):
        labels[slice(*rows), slice(*columns)] = parts.LABELS.index(name)
    return labels


def test_body_parts_tell_face_arms_and_legs_apart():
    found = parts.body_parts(person())
    for (row, column), expected in {
        (12, 30): parts.HEAD,
        (22, 30): parts.HEAD,
        (40, 30): parts.UPPER,
        (72, 30): parts.LOWER,
        (45, 17): parts.HANDS,
        (90, 30): parts.LOWER,
        (107, 30): parts.LOWER,
        (55, 50): 255,
        (5, 5): parts.BACKGROUND,
    }.items():
        assert found[row, column] == expected, (row, column)


def test_body_parts_of_an_empty_photo():
    assert (parts.body_parts(np.zeros((9, 9), np.uint8)) == parts.BACKGROUND).all()


def oracle(names=NAMES, offset=0):
    """A network that reads the class off the pixel's colour."""

    def logits(images):
        distance = np.abs(images[..., None, :].astype("float32") - np.array(COLORS)).sum(-1)
        return np.roll(-distance, offset, axis=-1)

    return models.Predictor("oracle", SIZE, logits, names, [list(color) for color in COLORS])


def test_evaluate_measures_each_class(tmp_path):
    dataset = data.load("folder", make_scenes(tmp_path, classes="background\nball\nbox\nunicorn"), "train")
    names = (*NAMES, "unicorn")
    figures = evaluate.evaluate(oracle(names), dataset).figures
    assert figures["class_iou"] == {"background": 1.0, "ball": 1.0, "box": 1.0, "unicorn": None}
    assert figures["mean_iou"] == figures["pixel_accuracy"] == 1
    json.dumps(figures, allow_nan=False)
    wrong = evaluate.evaluate(oracle(names, offset=1), dataset).figures
    assert wrong["mean_iou"] == 0


def test_evaluate_refuses_other_classes(tmp_path):
    dataset = data.load("folder", make_scenes(tmp_path), "train")
    with pytest.raises(
        UserError, match=r"2 classes \(background, person\), folder train has 3 \(background, ball, box"
    ):
        evaluate.evaluate(oracle(("background", "person")), dataset)


def test_predict_writes_labels_as_a_palette_and_colours(tmp_path):
    image, labels = scene(1)
    labels[labels == 255] = 0
    options = predict.PredictOptions("", "", effect="mask")
    view = predict.view_of(oracle(), options)
    values = view.values(oracle().logits(image[None])[0])
    pictures.write(tmp_path / "mask.png", view.render(image, values), view.colors)
    with PIL.Image.open(tmp_path / "mask.png") as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask)[2:], labels[2:])
        assert mask.getpalette()[3:6] == list(COLORS[1])
    tinted = predict.view_of(oracle(), predict.PredictOptions("", "")).render(image, values)
    assert (tinted[labels == 0] == image[labels == 0])[..., 0].mean() > 0.9


def test_predict_needs_a_background_to_replace():
    street = oracle(("sky", "road", "tree"))
    with pytest.raises(UserError, match="knows no background"):
        predict.view_of(street, predict.PredictOptions("", "", effect="blur"))
    assert predict.view_of(oracle(), predict.PredictOptions("", "", effect="blur")).colors is None


def test_training_on_several_classes_learns_and_remembers_their_names(tmp_path):
    root, run = make_scenes(tmp_path / "scenes"), tmp_path / "run"
    small = ["--input-size", "48,40", "--batch-size", "4", "--epochs", "8", "--learning-rate", "0.02"]
    arguments = ["eoam", "--dataset", "folder", "--data-dir", str(root), "--recipe", "drawings", *small]
    assert train.main([*arguments, "--output", str(run)]) == 0
    model = models.load(run)
    assert model.output_shape == (None, 48, 40, 3)
    assert models.classes_of(run, 3)[0] == NAMES
    losses = [float(line.split(",")[2]) for line in (run / "history.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.7 * losses[0]
    assert convert.main([str(run), "--quantize", "float32", "-o", str(tmp_path / "scenes.tflite")]) == 0
    converted = models.predictor(tmp_path / "scenes.tflite")
    assert converted.class_names == NAMES
    assert evaluate.evaluate(converted, data.load("folder", root, "val")).figures["class_iou"].keys() == set(NAMES)
