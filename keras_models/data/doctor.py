"""Looks for what is wrong with photos and masks, see `defects`.

`check.py` is the command that prints it, `mend.py` writes a mended copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from keras_models.command import UserError
from keras_models.data import images, similar
from keras_models.data.datasets import CLASS_NAMES, folder_masks, in_order, load, looks_inverted, splits
from keras_models.data.defects import KINDS, Problem
from keras_models.data.images import IMAGE_SUFFIXES, MASK_SUFFIXES, VOID
from keras_models.data.listing import SPLITS, divide, division_note, read_lines, stem_of

SMALL = 64  # side that masks and photos are compared at
INPUT = 224  # side of the networks' input


@dataclass(frozen=True)
class Item:
    """A photo, its mask, and the split that it belongs to."""

    name: str
    split: str
    photo: Path
    mask: Path


@dataclass
class Facts:
    """What was seen in an item; `kinds` are its defects."""

    item: Item
    kinds: list[str] = field(default_factory=list)
    shape: tuple[int, int] = (0, 0)  # height and width
    shares: np.ndarray | None = None  # (256,) of the pixels of each label
    code: np.ndarray | None = None  # see `similar.code`
    fits: np.ndarray | None = None  # see `similar.fits`
    tile: np.ndarray | None = None  # RGB uint8, for the contact sheet


@dataclass
class Collection:
    """The photos of a folder, how its masks are read, and what is wrong with its lists and names.

    `published`: whether they lie in the layout of a published set, with names and labels of its own.
    """

    root: Path
    items: list[Item]
    read: Callable[[Path], np.ndarray]
    class_names: tuple[str, ...]
    binary: bool
    problems: dict[str, list[str]]
    note: str = ""
    colors: tuple | None = None
    published: bool = False


def collect(name: str, root: Path) -> Collection:
    """What is to be checked in the dataset `name` at `root`. UserError where there is no such dataset at all."""
    if name in ("folder", "eg1800"):
        return _collect_folder(root)
    items, dataset = [], None
    for split in splits(name, root):
        dataset = load(name, root, split)
        if dataset.paths is None or dataset.read_mask is None:
            raise UserError(f"{name} has no files to check: it gives photos and labels alone.")
        items += [Item(each, split, *dataset.paths(i)) for i, each in enumerate(dataset.names)]
    if dataset is None:
        raise UserError(f"{root} has no split of {name}.")
    return Collection(
        root, items, dataset.read_mask, dataset.class_names, False, {}, dataset.note, dataset.colors, published=True
    )


def _collect_folder(root: Path) -> Collection:
    problems: dict[str, list[str]] = {}
    photos = _files(root / "images", IMAGE_SUFFIXES, problems)
    masks = _files(root / "masks", (*MASK_SUFFIXES, ".jpg", ".jpeg", ".webp"), problems)
    if not photos:
        raise UserError(f"{root / 'images'} holds no photo ({', '.join(IMAGE_SUFFIXES)}).")
    problems["mask-suffix"] = [str(path) for path in masks.values() if path.suffix.lower() not in MASK_SUFFIXES]
    lists = _lists(root, problems)
    note = ""
    if not lists:
        lists, note = divide(sorted(photos)), division_note(sorted(photos))
        problems["no-mask"] = [str(photos[stem]) for stem in photos if stem not in masks]
    else:
        listed = {stem for stems in lists.values() for stem in stems}
        problems["unlisted"] = sorted(str(path) for stem, path in photos.items() if stem not in listed)
        problems["listed-absent"] = [
            f"{split}.txt: {stem}"
            for split, stems in lists.items()
            for stem in stems
            if stem not in photos or stem not in masks
        ]
    problems["no-photo"] = [str(path) for stem, path in masks.items() if stem not in photos]
    problems["too-few"] = [f"{split}: {len(stems)}" for split, stems in lists.items() if not stems]
    read, names, colors = folder_masks(root, [path for path in masks.values() if path.suffix.lower() in MASK_SUFFIXES])
    items = [
        Item(stem, split, photos[stem], masks[stem])
        for split, stems in lists.items()
        for stem in dict.fromkeys(stems)
        if stem in photos and stem in masks
    ]
    return Collection(root, items, read, names or CLASS_NAMES, read is images.read_binary_mask, problems, note, colors)


def _files(folder: Path, suffixes: tuple[str, ...], problems: dict[str, list[str]]) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}. Expected images/ and masks/ with equal stems in {folder.parent}."
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() not in suffixes:
            problems.setdefault("other-file", []).append(str(path))
        elif found.setdefault(path.stem, path) != path:
            problems.setdefault("same-stem", []).append(f"{found[path.stem]}, {path.name}")
    return found


def _lists(root: Path, problems: dict[str, list[str]]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for split in SPLITS:
        path = root / f"{split}.txt"
        if not path.exists() and not path.is_symlink():
            continue
        try:
            lists[split] = [stem_of(line) for line in read_lines(path)]
        except UserError:
            problems.setdefault("list-unreadable", []).append(str(path))
    seen: dict[str, str] = {}
    for split, stems in lists.items():
        for stem in stems:
            other = seen.setdefault(stem, split)
            if other != split:
                problems.setdefault("list-overlap", []).append(f"{stem}: {other}.txt and {split}.txt")
        repeated = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
        problems.setdefault("list-repeats", []).extend(f"{split}.txt: {stem}" for stem in repeated)
    return lists


def examine(collection: Collection, tile: Callable | None = None, progress: Callable | None = None) -> list[Facts]:
    """The facts of every item, in parallel. `tile(image, labels)` makes a thumbnail that is kept with them."""
    items, facts = collection.items, []
    for i, found in enumerate(in_order(lambda i: look(items[i], collection, tile), len(items))):
        facts.append(found)
        if progress:
            progress(i + 1, len(items))
    return facts


def look(item: Item, collection: Collection, tile: Callable | None = None) -> Facts:
    """What is wrong with one photo and its mask."""
    facts = Facts(item)
    try:
        image, stored, orientation = read_photo(item.photo, facts.kinds)
    except UserError:
        facts.kinds += [] if "truncated-photo" in facts.kinds else ["unreadable-photo"]
        return facts
    facts.shape = stored if orientation < 5 else stored[::-1]
    facts.code = similar.code(image)
    _judge_size(facts)
    try:
        labels, kind = recover(item.mask, collection)
    except UserError:
        facts.kinds.append("unreadable-mask")
        return facts
    facts.kinds += [kind] if kind else []
    if labels.shape != facts.shape:
        turned = labels.shape == facts.shape[::-1] and orientation >= 5
        facts.kinds.append("exif-rotation" if turned else "mask-size")
        return facts
    facts.shares = np.bincount(labels.ravel(), minlength=256) / labels.size
    if kind != "odd-labels":
        _judge_mask(facts, image, labels, collection)
    if tile:
        facts.tile = tile(image, cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    return facts


def read_photo(path: Path, kinds: list[str] | None = None) -> tuple[np.ndarray, tuple[int, int], int]:
    """A photo upright as RGB uint8, a JPEG at a reduced size; the stored (height, width); its EXIF orientation.

    Defects are added to `kinds`. UserError for what cannot be read.
    """
    kinds = [] if kinds is None else kinds
    data = images.read_bytes(path)
    try:
        with images.open_image(data) as picture:
            kind, mode, size = picture.format, picture.mode, picture.size
            orientation = picture.getexif().get(0x0112, 1)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is no readable image: {error}") from error
    if _is_cut(data, kind):
        kinds.append("truncated-photo")
    reduced = cv2.IMREAD_COLOR
    if kind == "JPEG":
        factor = min(size) // 200
        reduced = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}.get(
            8 if factor >= 8 else 4 if factor >= 4 else 2 if factor >= 2 else 1, cv2.IMREAD_COLOR
        )
    image = images.read_image(path, data=data, flags=reduced)
    if mode in ("1", "L", "LA", "I;16", "I", "F") or similar.is_grey(image):
        kinds.append("grey-photo")
    if mode == "CMYK":
        kinds.append("cmyk-photo")
    return image, size[::-1], orientation if orientation in range(1, 9) else 1


def _is_cut(data: bytes, kind: str) -> bool:
    """Whether an image's data end before the image does: decoders fill the rest with grey and say nothing."""
    if kind not in ("JPEG", "PNG") or (b"\xff\xd9" if kind == "JPEG" else b"IEND") in data[-64:]:
        return False
    try:
        with images.open_image(data) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError):
        return True
    return False


def recover(path: Path, collection: Collection) -> tuple[np.ndarray, str]:
    """Labels uint8 (height, width) of a mask, read as it was meant, and the kind of its defect or "".

    UserError for what no reading makes sense of.
    """
    try:
        if path.suffix.lower() in MASK_SUFFIXES:
            return collection.read(path), ""
    except UserError as error:
        failure = error
    else:
        failure = UserError(f"{path} is no PNG.")
    if path.suffix.lower() == ".mat":
        raise failure
    try:
        with images.open_image(images.read_bytes(path)) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError):
        raise failure from None
    kind = "mask-suffix" if path.suffix.lower() not in MASK_SUFFIXES else ""
    if mode == "P":
        kind = kind or "palette-mask"
    elif values.ndim == 3:
        kind = kind or "three-channel-mask"
        values = _one_channel(values, collection)
    elif values.dtype != np.uint8:
        kind = kind or "deep-mask"
        values = (values / max(1, values.max()) * 255 if collection.binary else values).astype(np.uint8)
    if collection.binary:
        if values.max(initial=0) == 1:
            return values.astype(np.uint8), kind or "zero-one-mask"
        if images.may_hold_void(values):
            return values, kind or "maybe-void-mask"
        return (values > (0 if kind == "palette-mask" else 127)).astype(np.uint8), kind or "unreadable-mask"
    return values.astype(np.uint8), kind or "odd-labels"


def _one_channel(values: np.ndarray, collection: Collection) -> np.ndarray:
    """Labels out of colours: by the colours of the classes, or the channels' common value."""
    values = values[..., :3] if values.shape[2] > 2 else values[..., :1]
    if collection.colors and values.shape[2] == 3:
        distance = np.abs(values[:, :, None].astype(np.int16) - np.array(collection.colors, np.int16)).sum(-1)
        return distance.argmin(-1).astype(np.uint8)
    return values.max(axis=2)


def _judge_size(facts: Facts) -> None:
    shorter, longer = min(facts.shape), max(facts.shape)
    if shorter < INPUT / 3:
        facts.kinds.append("small-photo")
    if shorter * longer > 24_000_000:
        facts.kinds.append("large-photo")
    if longer > 3 * shorter:
        facts.kinds.append("odd-shape")


def _judge_mask(facts: Facts, image: np.ndarray, labels: np.ndarray, collection: Collection) -> None:
    shares = facts.shares
    if shares[VOID] == 1:
        facts.kinds.append("void-mask")
        return
    if collection.class_names[0] != "background" and not collection.binary:
        return
    foreground = 1 - shares[0] - shares[VOID]
    if foreground == 0:
        facts.kinds.append("empty-mask")
    elif shares[0] == 0:
        facts.kinds.append("full-mask")
    else:
        small = cv2.resize(
            ((labels > 0) & (labels < VOID)).astype(np.float32), (SMALL, SMALL), interpolation=cv2.INTER_AREA
        )
        if looks_inverted(small):
            facts.kinds.append("inverted-mask")
        else:
            facts.fits = similar.fits(image, small)
            if similar.looks_shifted(facts.fits):
                facts.kinds.append("shifted-mask")
    if collection.binary and not {"palette-mask", "three-channel-mask", "deep-mask", "mask-suffix"} & {*facts.kinds}:
        values = np.bincount(images.read_mask(facts.item.mask).ravel(), minlength=256) / labels.size
        if values[32:224].sum() > 0.02 and values[32:224].max() > 0.01:  # one grey in large areas, no soft edge
            facts.kinds.append("grey-mask")


def gather(collection: Collection, facts: Iterable[Facts]) -> list[Problem]:
    """Every problem of a collection, errors first, in the order of `KINDS`."""
    facts = list(facts)
    inverted = sum("inverted-mask" in each.kinds for each in facts)
    for each in facts:  # where so many look so, the others are it too
        if inverted > 0.4 * len(facts) and each.shares is not None and "inverted-mask" not in each.kinds:
            each.kinds.append("inverted-mask")
    found = {kind: list(files) for kind, files in collection.problems.items()}
    for each in facts:
        for kind in each.kinds:
            about = each.item.mask if "mask" in kind or kind == "exif-rotation" else each.item.photo
            if str(about) not in found.setdefault(kind, []):
                found[kind].append(str(about))
    groups = _alike(facts)
    for kind, members in groups.items():
        found[kind] = [name for group in members for name in group]
    fits = [each.fits for each in facts if each.fits is not None]
    if len(fits) >= 10 and similar.shifted_alike(fits):
        found["shifted-set"] = [str(collection.root / "masks")]
    _judge_classes(collection, facts, found)
    return [Problem(kind, tuple(found[kind]), tuple(groups.get(kind, ()))) for kind in KINDS if found.get(kind)]


def _alike(facts: list[Facts]) -> dict[str, list[tuple[str, ...]]]:
    """Groups of equal and of similar photos, within a split and across."""
    seen = [each for each in facts if each.code is not None]
    groups: dict[str, list[tuple[str, ...]]] = {}
    for same, name in ((True, "duplicate"), (False, "similar")):
        for group in similar.groups([each.code for each in seen], same):
            across = len({seen[i].item.split for i in group}) > 1
            files = tuple(str(seen[i].item.photo) for i in group)
            kind = name + ("-across" if across else "")
            known = {file for other in groups.values() for found in other for file in found}
            if same or not set(files) <= known:
                groups.setdefault(kind, []).append(files)
    return groups


def _judge_classes(collection: Collection, facts: list[Facts], found: dict[str, list[str]]) -> None:
    for split in SPLITS:
        shares = [each.shares for each in facts if each.shares is not None and each.item.split == split]
        if not shares:
            continue
        mean = np.mean(shares, axis=0)
        if not mean[1:VOID].any():
            found.setdefault("no-foreground", []).append(split)
            continue
        for label, name in enumerate(collection.class_names):
            if mean[label] == 0:
                found.setdefault("absent-class", []).append(f"{split}: {name}")
            elif mean[label] < 0.001:
                found.setdefault("rare-class", []).append(f"{split}: {name} ({mean[label]:.4%})")
