"""Published datasets of several classes, each in the layout of its own download.

`ccp`         Clothing Co-Parsing: `photos/`, `annotations/pixel-level/*.mat`; a person is every pixel that is not null
`ccp_parts`   the same photos with the 4 + 1 body parts of Improved DeepLabv3+, see `parts.py`
`atr_parts`   ATR human parsing, Improved DeepLabv3+'s own data: `JPEGImages/`, `SegmentationClassAug/`; the same parts
`lip`         Look into Person, LIP-Net's data, 20 classes: `train_images/`, `train_segmentations/` and so on
`camvid`      CamVid street scenes, 11 classes: `train/images`, `train/labels`, or SegNet's `train`, `trainannot`
`cityscapes`  19 classes: `leftImg8bit/train/*/`, `gtFine/train/*/*_labelIds.png`; its test split has no labels
`voc_person`  Pascal VOC's person: `JPEGImages/`, `SegmentationClass/`, `ImageSets/Segmentation/*.txt`, or
              `images/` and `masks/` with grey masks, 255 for a person and 128 for void

`people.py` has the files of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from keras_models.data import people
from keras_models.data.images import IMAGE_SUFFIXES, VOID, holds_labels, read_mask, read_mat
from keras_models.data.listing import SPLITS, by_stem, read_list, splits_of, stems_of
from keras_models.data.parts import BACKGROUND, HANDS, HEAD, LOWER, PARTS, UPPER, body_parts

Files = tuple[list[str], dict[Path, dict[str, Path]]]


@dataclass(frozen=True)
class Published:
    """How a dataset is read.

    `files(root, split)` gives the names of the split's photos and, by folder, its photos and its masks by name.
    `read(path)` gives the labels of a mask, uint8 (height, width). `splits(root)` gives the splits that are there;
    None: the folder's lists, or tenths. `mirrored`: see `Dataset`.
    """

    files: Callable[[Path, str], Files]
    read: Callable[[Path], np.ndarray]
    class_names: tuple[str, ...] = ("background", "person")
    colors: tuple[tuple[int, int, int], ...] | None = None
    splits: Callable[[Path], tuple[str, ...]] | None = None
    mirrored: tuple[tuple[int, int], ...] = ()


def _labels(table: list[int]) -> Callable[[Path], np.ndarray]:
    """A reader of masks whose stored values become labels by `table`; a value that it lacks is the mask's mistake."""
    values = np.array(table, np.uint8)

    def read(path: Path) -> np.ndarray:
        stored = read_mask(path)
        wrong = np.setdiff1d(stored, [*range(len(values)), VOID])
        if wrong.size:
            raise UserError(f"{path} holds the value {wrong[0]}; this dataset's masks hold 0 to {len(values) - 1}.")
        return np.append(values, np.full(VOID + 1 - len(values), VOID, np.uint8))[stored]

    return read


def _two_folders(images: str, masks: str, suffixes: tuple[str, ...] = (".png",)) -> Callable[[Path, str], Files]:
    """Photos and masks of all splits in two folders, divided by lists or tenths."""

    def files(root: Path, split: str) -> Files:
        found = {root / images: by_stem(root / images, IMAGE_SUFFIXES), root / masks: by_stem(root / masks, suffixes)}
        photos, labelled = found.values()
        return stems_of(root, split, sorted(photos.keys() & labelled.keys())), found

    return files


_CCP = _two_folders("photos", "annotations/pixel-level", (".mat",))

# ATR: background, hat, hair, sunglasses, upper clothes, skirt, trousers, dress, belt, two shoes, face, two legs, two
# arms, bag, scarf. A dress is upper body here: its mask alone does not say where the waist is.
_ATR = [BACKGROUND, HEAD, HEAD, HEAD, UPPER, LOWER, LOWER, UPPER, LOWER, LOWER, LOWER, HEAD, LOWER, LOWER, HANDS, HANDS]

_LIP = (
    *("background", "hat", "hair", "glove", "sunglasses", "upper clothes", "dress", "coat", "socks", "trousers"),
    *(
        "jumpsuit",
        "scarf",
        "skirt",
        "face",
        "left arm",
        "right arm",
        "left leg",
        "right leg",
        "left shoe",
        "right shoe",
    ),
)


def _lip_files(root: Path, split: str) -> Files:
    folders = {}
    for kind, suffixes in (("images", IMAGE_SUFFIXES), ("segmentations", (".png",))):
        # The archives unpack into folders of their own, once or twice deep.
        found = [path for path in sorted(root.rglob(f"{split}_{kind}")) if path.is_dir()]
        folder = next((path for path in found if any(path.glob("*.*"))), root / f"{split}_{kind}")
        folders[folder] = by_stem(folder, suffixes)
    return sorted(next(iter(folders.values()))), folders


_CAMVID = {  # SegNet's eleven classes, in the order of its labels; 11 is void
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


def _camvid_files(root: Path, split: str) -> Files:
    folders = (root / split / "images", root / split / "labels")
    if not folders[0].is_dir():
        folders = (root / split, root / f"{split}annot")
    images, labels = (by_stem(folder, IMAGE_SUFFIXES) for folder in folders)
    return sorted(images), dict(zip(folders, (images, labels), strict=True))


_CITYSCAPES = {  # the nineteen classes that are evaluated: stored label, colour
    "road": (7, (128, 64, 128)),
    "pavement": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
_STORED = [stored for stored, _ in _CITYSCAPES.values()]


def _cityscapes_files(root: Path, split: str) -> Files:
    files = {}
    for folder, ending in ((root / "leftImg8bit", "_leftImg8bit.png"), (root / "gtFine", "_gtFine_labelIds.png")):
        paths = sorted((folder / split).glob(f"*/*{ending}"))
        if not paths:
            raise UserError(
                f"There is no {folder / split}/*/*{ending}. Unpack both of Cityscapes' archives into {root}."
            )
        files[folder / split] = {path.name.removesuffix(ending): path for path in paths}
    return sorted(next(iter(files.values()))), files


def _voc_files(root: Path, split: str) -> Files:
    if (root / "masks").is_dir():
        return _two_folders("images", "masks")(root, split)
    listing = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        raise UserError(f"There is no {listing}. --data-dir must name the year's folder of VOCdevkit, as VOC2012.")
    folders = {root / "JPEGImages": IMAGE_SUFFIXES, root / "SegmentationClass": (".png",)}
    return read_list(listing), {f: by_stem(f, suffixes) for f, suffixes in folders.items()}


def _voc_person(path: Path) -> np.ndarray:
    if holds_labels(path):
        return _labels([int(label == 15) for label in range(21)])(path)
    grey = read_mask(path)
    return np.select([grey == 128, grey > 128], [VOID, 1], 0).astype(np.uint8)


def _folders_named(pattern: str) -> Callable[[Path], tuple[str, ...]]:
    return lambda root: tuple(split for split in SPLITS if any(root.glob(pattern.format(split))))


PUBLISHED = {
    "ccp": Published(_CCP, lambda path: (read_mat(path, "groundtruth") > 0).astype(np.uint8)),
    "ccp_parts": Published(_CCP, lambda path: body_parts(read_mat(path, "groundtruth")), PARTS),
    "atr_parts": Published(_two_folders("JPEGImages", "SegmentationClassAug"), _labels([*_ATR, VOID, UPPER]), PARTS),
    "lip": Published(
        _lip_files,
        _labels(list(range(20))),
        _LIP,
        splits=_folders_named("**/{}_segmentations"),
        mirrored=((14, 15), (16, 17), (18, 19)),
    ),
    "camvid": Published(
        _camvid_files,
        _labels([*range(len(_CAMVID)), VOID]),
        tuple(_CAMVID),
        tuple(_CAMVID.values()),
        _folders_named("{}"),
    ),
    "cityscapes": Published(
        _cityscapes_files,
        _labels([_STORED.index(i) if i in _STORED else VOID for i in range(34)]),
        tuple(_CITYSCAPES),
        tuple(color for _, color in _CITYSCAPES.values()),
        lambda root: ("train", "val"),
    ),
    "supervisely": Published(people.supervisely_files, people.supervisely_mask),
    "baidu_people": Published(people.renamed("images", "profiles", "-profile", IMAGE_SUFFIXES), people.white),
    "penn_fudan": Published(people.renamed("PNGImages", "PedMasks", "_mask", (".png",)), people.penn_fudan_mask),
    "tiktok": Published(people.tiktok_files, people.white),
    "coco_person": Published(people.coco_files, people.coco_mask, splits=people.coco_splits),
    "lfw_parts": Published(people.lfw_files, people.lfw_mask, ("background", "skin", "hair"), splits=people.lfw_splits),
    "helen_parts": Published(
        people.helen_files,
        people.helen_mask,
        people.HELEN,
        splits=people.helen_splits,
        mirrored=((2, 3), (4, 5)),
    ),
    "voc_person": Published(
        _voc_files,
        _voc_person,
        splits=lambda root: splits_of(root) if (root / "masks").is_dir() else ("train", "val"),
    ),
}
