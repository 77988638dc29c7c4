"""More published sets of people and faces, each in the layout of its own download.

`supervisely`   Supervisely Person: `DATASET/img/*`, `DATASET/ann/*.json` with polygons and bitmaps; `neutral` is void
`baidu_people`  Baidu people segmentation: `images/*.jpg`, `profiles/*-profile.jpg`, white for a person
`penn_fudan`    Penn-Fudan pedestrians: `PNGImages/*.png`, `PedMasks/*_mask.png`, one number per person
`tiktok`        TikTok dancing: `images/*.png`, `masks/*.png`, or the original's `SEQUENCE/images`, `SEQUENCE/masks`
`coco_person`   COCO's persons: `annotations/instances_train2017.json`, `train2017/*.jpg`, and the same for val
`lfw_parts`     LFW part labels: `lfw_funneled/NAME/*.jpg`, `parts_lfw_funneled_gt_images/*.ppm`, `parts_train.txt` ...
`helen_parts`   Helen's face parts (Smith et al., 2013): `images/*.jpg`, `labels/ID/ID_lbl00.png` to `10`, lists
"""

from __future__ import annotations

import base64
import functools
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from keras_models.command import UserError
from keras_models.data.images import IMAGE_SUFFIXES, VOID, _decode, read_bytes, read_mask
from keras_models.data.listing import SPLITS, by_stem, lists_of, read_lines, stems_of

Files = tuple[list[str], dict[Path, dict[str, Path]]]
PERSON = ("person", "person_poly", "person_bmp")


def found(root: Path, folder: str) -> Path:
    """The folder of that name in `root`, however deep its archive unpacked it; `root / folder` where there is none."""
    return next((path for path in sorted(root.rglob(folder)) if path.is_dir()), root / folder)


def white(path: Path) -> np.ndarray:
    """Labels of a mask whose white is the person, of one channel or several, JPEG or PNG."""
    mask = _decode(path, read_bytes(path), cv2.IMREAD_UNCHANGED)
    mask = mask[..., :3].max(axis=2) if mask.ndim == 3 else mask
    return (mask > (0 if mask.max(initial=0) == 1 else 127)).astype(np.uint8)


def supervisely_files(root: Path, split: str) -> Files:
    """A photo `NAME.png` of `ds1/img` has its figures in `ds1/ann/NAME.png.json`; names are `ds1/NAME`."""
    photos, masks = {}, {}
    for folder in sorted(path for path in root.rglob("img") if (path.parent / "ann").is_dir()):
        prefix = folder.parent.relative_to(root).as_posix()
        for stem, path in by_stem(folder, IMAGE_SUFFIXES).items():
            name = stem if prefix == "." else f"{prefix}/{stem}"
            photos[name] = path
            annotation = folder.parent / "ann" / f"{path.name}.json"
            if annotation.is_file():
                masks[name] = annotation
    if not photos:
        raise UserError(f"There is no DATASET/img beside DATASET/ann in {root}. Unpack Supervisely's project there.")
    lists = lists_of(root)
    stems = sorted(photos) if not lists else []
    if lists:  # a list names stems without the dataset's folder
        by_name = {name.rsplit("/", 1)[-1]: name for name in photos}
        return [by_name.get(stem, stem) for stem in stems_of(root, split, stems)], {
            root / "img": photos,
            root / "ann": masks,
        }
    return stems_of(root, split, stems), {root / "img": photos, root / "ann": masks}


def supervisely_mask(path: Path) -> np.ndarray:
    """Labels of an annotation: persons are 1, and `neutral`, drawn last, is void."""
    try:
        content = json.loads(read_bytes(path))
        labels = np.zeros((content["size"]["height"], content["size"]["width"]), np.uint8)
        for person in (True, False):
            for figure in content["objects"]:
                if (figure["classTitle"] in PERSON) == person:
                    _draw(labels, figure, 1 if person else VOID)
    except (ValueError, KeyError, TypeError, IndexError, zlib.error, cv2.error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is no annotation of Supervisely's: {error!r}") from error
    return labels


def _draw(labels: np.ndarray, figure: dict, value: int) -> None:
    if figure["geometryType"] == "polygon":
        area = np.zeros_like(labels)
        cv2.fillPoly(area, [np.array(figure["points"]["exterior"], np.int32)], 1)
        for hole in figure["points"]["interior"]:
            cv2.fillPoly(area, [np.array(hole, np.int32)], 0)
        labels[area > 0] = value
    elif figure["geometryType"] == "bitmap":
        png = zlib.decompress(base64.b64decode(figure["bitmap"]["data"]))
        bitmap = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        bitmap = bitmap[..., -1] if bitmap.ndim == 3 else bitmap
        x, y = figure["bitmap"]["origin"]
        place = labels[y : y + bitmap.shape[0], x : x + bitmap.shape[1]]
        place[bitmap[: place.shape[0], : place.shape[1]] > 0] = value


def renamed(photos: str, masks: str, ending: str, suffixes: tuple[str, ...]) -> Callable[[Path, str], Files]:
    """Photos `NAME.*` in one folder, masks `NAME` + `ending` in another."""

    def files(root: Path, split: str) -> Files:
        folders = found(root, photos), found(root, masks)
        images = by_stem(folders[0], IMAGE_SUFFIXES)
        labels = {stem.removesuffix(ending): path for stem, path in by_stem(folders[1], suffixes).items()}
        stems = stems_of(root, split, sorted(images.keys() & labels.keys()))
        return stems, {folders[0]: images, folders[1]: labels}

    return files


def penn_fudan_mask(path: Path) -> np.ndarray:
    """Every person has a number of their own; a person is every one above 0."""
    return (read_mask(path) > 0).astype(np.uint8)


def tiktok_files(root: Path, split: str) -> Files:
    """Frames of one folder, or of a folder per dance: the frames of a dance stay in one split."""
    sequences = sorted({path.parent for path in root.rglob("masks") if (path.parent / "images").is_dir()})
    if not sequences:
        raise UserError(f"There are no folders images and masks in {root}. Unpack the dancing set there.")
    photos, masks = {}, {}
    for folder in sequences:
        prefix = f"{folder.name}_" if len(sequences) > 1 else ""
        for found_here, name in ((photos, "images"), (masks, "masks")):
            found_here |= {prefix + stem: path for stem, path in by_stem(folder / name, IMAGE_SUFFIXES).items()}
    return stems_of(root, split, sorted(photos.keys() & masks.keys())), {root / "images": photos, root / "masks": masks}


def coco_splits(root: Path) -> tuple[str, ...]:
    """The splits whose `instances_*.json` is there."""
    return tuple(split for split in SPLITS if _instances(root, split))


def _instances(root: Path, split: str) -> Path | None:
    return next(iter(sorted(root.glob(f"annotations/instances_{split}*.json"))), None)


def coco_files(root: Path, split: str) -> Files:
    """The photos with a person in them. A mask's path is the annotations' with the photo's name behind it."""
    path = _instances(root, split)
    folder = root / path.stem.removeprefix("instances_")
    stems = sorted(_persons(path))
    return stems, {folder: by_stem(folder, IMAGE_SUFFIXES), path: {stem: path / stem for stem in stems}}


@functools.lru_cache(maxsize=2)
def _persons(path: Path) -> dict[str, tuple[tuple[int, int], list[dict]]]:
    """By photo's stem: (height, width) and the annotations of its persons."""
    try:
        content = json.loads(read_bytes(path))
        (person,) = (each["id"] for each in content["categories"] if each["name"] == "person")
        images = {each["id"]: each for each in content["images"]}
        persons: dict[str, tuple[tuple[int, int], list[dict]]] = {}
        for each in content["annotations"]:
            if each["category_id"] == person:
                image = images[each["image_id"]]
                size = (image["height"], image["width"])
                persons.setdefault(Path(image["file_name"]).stem, (size, []))[1].append(each)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is no instances_*.json of COCO's: {error!r}") from error
    return persons


def coco_mask(path: Path) -> np.ndarray:
    """Persons as polygons, crowds as run lengths; both are 1."""
    (height, width), annotations = _persons(path.parent)[path.name]
    labels = np.zeros((height, width), np.uint8)
    for annotation in annotations:
        outline = annotation["segmentation"]
        if isinstance(outline, dict):
            if isinstance(outline["counts"], str):
                raise UserError(f"{path} has compressed run lengths. Use COCO's own files: theirs are plain numbers.")
            runs = np.repeat(np.arange(len(outline["counts"])) % 2, outline["counts"])
            labels |= runs.reshape(width, height).T.astype(np.uint8)
            continue
        area = np.zeros_like(labels)
        for polygon in outline:
            cv2.fillPoly(area, [np.round(np.array(polygon).reshape(-1, 2)).astype(np.int32)], 1)
        labels |= area
    return labels


_LFW_LISTS = {"train": "parts_train.txt", "val": "parts_validation.txt", "test": "parts_test.txt"}


def lfw_splits(root: Path) -> tuple[str, ...]:
    """The splits whose list is there; all, divided, where there is no list."""
    return tuple(split for split in SPLITS if (root / _LFW_LISTS[split]).is_file()) or SPLITS


def lfw_files(root: Path, split: str) -> Files:
    """A list's line is a person's name and the number of their photo."""
    folder, masks = found(root, "lfw_funneled"), found(root, "parts_lfw_funneled_gt_images")
    labels = by_stem(masks, (".ppm",))
    photos = {}
    for stem in labels:
        path = folder / re.sub(r"_\d+$", "", stem) / f"{stem}.jpg"
        if path.is_file():
            photos[stem] = path
    listing = root / _LFW_LISTS[split]
    if listing.is_file():
        stems = [f"{name}_{int(number):04d}" for name, number in map(str.split, read_lines(listing))]
        stems = [stem for stem in stems if stem in labels]
    else:
        stems = stems_of(root, split, sorted(labels))
    return stems, {folder: photos, masks: labels}


def lfw_mask(path: Path) -> np.ndarray:
    """Blue is background 0, green skin 1, red hair 2."""
    picture = _decode(path, read_bytes(path), cv2.IMREAD_COLOR)  # blue, green, red
    return picture.argmax(axis=2).astype(np.uint8)


HELEN = (
    *("background", "face skin", "left eyebrow", "right eyebrow", "left eye", "right eye", "nose", "upper lip"),
    *("inner mouth", "lower lip", "hair"),
)
_HELEN_LISTS = {"train": "exemplars.txt", "val": "tuning.txt", "test": "testing.txt"}


def helen_splits(root: Path) -> tuple[str, ...]:
    """The splits whose list is there."""
    return tuple(split for split in SPLITS if (root / _HELEN_LISTS[split]).is_file())


def helen_files(root: Path, split: str) -> Files:
    """A list's line is `number , ID`; an ID has a folder of one picture per part."""
    stems = [line.split(",")[-1].strip() for line in read_lines(root / _HELEN_LISTS[split])]
    labels = {path.name: path for path in sorted((root / "labels").iterdir())} if (root / "labels").is_dir() else {}
    return stems, {root / "images": by_stem(root / "images", IMAGE_SUFFIXES), root / "labels": labels}


def helen_mask(path: Path) -> np.ndarray:
    """The likeliest of eleven parts, of which each has a picture of its own."""
    parts = [read_mask(path / f"{path.name}_lbl{part:02d}.png") for part in range(len(HELEN))]
    if len({part.shape for part in parts}) > 1:
        raise UserError(f"{path}: the parts' pictures differ in size.")
    return np.argmax(parts, axis=0).astype(np.uint8)
