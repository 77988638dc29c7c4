"""Readers of more published sets, each on a miniature in the layout of its own download."""

import base64
import io
import json
import zlib

import numpy as np
import PIL.Image
import pytest

from keras_models import data
from keras_models.command import UserError
from keras_models.data import check, info
from keras_models.data.datasets import splits
from tests.test_data import make_folder

SIZE = (20, 30)  # height, width
MASK = np.zeros(SIZE, np.uint8)
MASK[5:15, 8:20] = 1
PHOTO = np.dstack([MASK * 200, MASK * 100, MASK * 50])


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(values).save(path)


def png(values):
    stream = io.BytesIO()
    PIL.Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def supervisely(root):
    """A polygon with a hole, a bitmap, and a neutral area, in two datasets of a project."""
    for number in range(12):
        folder = root / f"ds{1 + number % 2}"
        save(folder / "img" / f"p{number}.png", PHOTO)
        square = [[8, 5], [19, 5], [19, 14], [8, 14]]
        hole = [[12, 8], [14, 8], [14, 10], [12, 10]]
        bitmap = np.zeros((3, 4, 4), np.uint8)
        bitmap[..., 3] = 255
        objects = [
            {
                "classTitle": "neutral",
                "geometryType": "polygon",
                "points": {"exterior": [[0, 0], [29, 0]], "interior": []},
            },
            {
                "classTitle": "person_poly",
                "geometryType": "polygon",
                "points": {"exterior": square, "interior": [hole]},
            },
            {
                "classTitle": "person_bmp",
                "geometryType": "bitmap",
                "bitmap": {"data": base64.b64encode(zlib.compress(png(bitmap))).decode(), "origin": [24, 16]},
            },
        ]
        annotation = {"size": {"height": SIZE[0], "width": SIZE[1]}, "objects": objects, "tags": []}
        path = folder / "ann" / f"p{number}.png.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(annotation))
    expected = MASK.copy()
    expected[8:11, 12:15] = 0
    expected[16:19, 24:28] = 1
    expected[0] = 255
    return expected


def baidu(root):
    for number in range(10):
        save(root / f"clean_images/images/{number:04d}.jpg", PHOTO)
        save(root / f"clean_images/profiles/{number:04d}-profile.jpg", np.repeat(MASK[..., None] * 255, 3, 2))
    return None  # JPEG: nearly MASK


def penn_fudan(root):
    two = MASK.copy()
    two[5:15, 14:20] = 2
    for number in range(10):
        save(root / f"PennFudanPed/PNGImages/FudanPed{number:05d}.png", PHOTO)
        save(root / f"PennFudanPed/PedMasks/FudanPed{number:05d}_mask.png", two)
    return MASK


def tiktok(root):
    for number in range(10):
        save(root / f"segmentation_full_body_tik_tok_2615_img/images/{number:04d}.png", PHOTO)
        save(
            root / f"segmentation_full_body_tik_tok_2615_img/masks/{number:04d}.png",
            np.repeat(MASK[..., None] * 255, 3, 2),
        )
    return MASK


def coco(root):
    runs, column = [0], 0
    for value in MASK.T.ravel():  # run lengths go down the columns and begin with background
        if value != column:
            runs.append(0)
            column = value
        runs[-1] += 1
    square = [8, 5, 19, 5, 19, 14, 8, 14]
    annotations = [
        {"image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [square]},
        {"image_id": 2, "category_id": 1, "iscrowd": 1, "segmentation": {"counts": runs, "size": list(SIZE)}},
        {"image_id": 3, "category_id": 17, "iscrowd": 0, "segmentation": [square]},
    ]
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2, 3)]
    categories = [{"id": 1, "name": "person"}, {"id": 17, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
        for i in (1, 2, 3):
            save(root / split / f"{i:012d}.jpg", PHOTO)
    return MASK


def lfw(root):
    labels = np.zeros((*SIZE, 3), np.uint8)
    labels[..., 2] = 255
    labels[5:10, 8:20] = (255, 0, 0)
    labels[10:15, 8:20] = (0, 255, 0)
    save(root / "lfw_funneled/Ana_B/Ana_B_0007.jpg", PHOTO)
    save(root / "parts_lfw_funneled_gt_images/Ana_B_0007.ppm", labels)
    (root / "parts_train.txt").write_text("Ana_B 7\n")
    return np.where(MASK == 0, 0, np.where(np.arange(SIZE[0])[:, None] < 10, 2, 1)).astype(np.uint8)


def helen(root):
    save(root / "images/100_1.jpg", PHOTO)
    for part in range(11):
        inside = MASK if part == 6 else 1 - MASK if part == 0 else np.zeros(SIZE, np.uint8)
        save(root / f"labels/100_1/100_1_lbl{part:02d}.png", inside * 255)
    (root / "exemplars.txt").write_text("1 , 100_1\n")
    return MASK * 6


SETS = {
    "supervisely": supervisely,
    "baidu_people": baidu,
    "penn_fudan": penn_fudan,
    "tiktok": tiktok,
    "coco_person": coco,
    "lfw_parts": lfw,
    "helen_parts": helen,
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_as_it_is_downloaded(tmp_path, name):
    expected = SETS[name](tmp_path)
    assert "train" in splits(name, tmp_path)
    dataset = data.load(name, tmp_path, "train")
    for i in range(len(dataset)):
        image, labels = dataset.load(i)
        assert image.shape == (*SIZE, 3)
        if expected is None:
            assert (labels == MASK).mean() > 0.97
        else:
            np.testing.assert_array_equal(labels, expected)
    assert labels.max() < len(dataset.class_names) or labels.max() == 255


def test_an_annotation_that_is_none_is_named(tmp_path):
    supervisely(tmp_path)
    for path in tmp_path.rglob("*.json"):
        path.write_text('{"size": 3}')
    with pytest.raises(UserError, match=r"p\d+\.png\.json is no annotation of Supervisely's"):
        data.load("supervisely", tmp_path, "train").load(0)
    coco(tmp_path / "coco")
    for path in tmp_path.rglob("instances*.json"):
        path.write_text("[]")
    with pytest.raises(UserError, match=r"instances_train2017.json is no instances_\*.json of COCO's"):
        data.load("coco_person", tmp_path / "coco", "train")


def test_info_knows_every_set(capsys):
    assert info.main([]) == 0
    assert set(data.dataset_names()) == set(info.SETS)
    assert info.main(["penn_fudan"]) == 0
    assert "PedMasks" in capsys.readouterr().out
    with pytest.raises(UserError, match="Valid names: atr_parts"):
        info.main(["penfudan"])


def test_a_voc_folder_with_a_training_list_alone_has_no_other_split(tmp_path, capsys):
    root = make_folder(tmp_path / "voc", 12)
    (root / "train.txt").write_text("".join(f"{i:02d}\n" for i in range(12)))
    assert splits("voc_person", root) == ("train",)
    check.main([str(root), "--dataset", "voc_person"])
    assert "train  12 photos" in capsys.readouterr().out
