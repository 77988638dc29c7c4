"""A mended copy of a folder of photos and masks: what a rule can mend is mended, what none can is left out and said."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from keras_models import command, pictures
from keras_models.data import doctor, folder, images
from keras_models.data.listing import SPLITS

_LEFT_OUT = {  # no rule knows what the photo or the mask should be
    *("unreadable-photo", "truncated-photo", "unreadable-mask", "odd-labels", "maybe-void-mask"),
    *("void-mask", "shifted-mask"),
}
_MASKS = {  # what a rule mends
    *("exif-rotation", "mask-size", "mask-suffix", "palette-mask", "three-channel-mask", "deep-mask"),
    *("zero-one-mask", "inverted-mask"),
}


def mend(collection: doctor.Collection, facts: list[doctor.Facts], problems: list[doctor.Problem], output: Path) -> str:
    """Write the mended copy as the folder `output` and say what was done. UserError where `output` is not empty."""
    done: Counter[str] = Counter()
    dropped = _doubles(facts, problems)
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    written: set[str] = set()
    with command.whole_folder(output) as root:
        (root / "images").mkdir()
        (root / "masks").mkdir()
        for each in sorted(facts, key=lambda each: -SPLITS.index(each.item.split)):  # test keeps what others share
            reason = _why_left_out(each, dropped, written)
            if reason is None:
                reason = _write(each, collection, root, done)
            if reason:
                done[f"left out: {reason}"] += 1
                continue
            written.add(_name(each.item))
            lists[each.item.split].append(_name(each.item))
        folder.write_lists(root, {split: sorted(names) for split, names in lists.items()})
        if not collection.binary or (collection.root / "classes.txt").is_file():
            folder.write_classes(root, collection.class_names, pictures.class_colors(collection))
        made = f"Mended from {collection.root.resolve().name} by `python -m keras_models.data check --fix`."
        licence = folder.write_source(root, collection.root, made)
    said = [f"  {count} {what}" for what, count in sorted(done.items())]
    return "\n".join([f"mended copy: {output}, {len(written)} photos", *said, licence])


def _name(item: doctor.Item) -> str:
    """The stem of photo and mask in the copy; some published sets have folders in their names."""
    return item.name.replace("/", "_")


def _doubles(facts: list[doctor.Facts], problems: list[doctor.Problem]) -> set[str]:
    """Photos that are the same as one that is kept: the copy in test goes before val, and that before train."""
    split = {str(each.item.photo): each.item.split for each in facts}
    dropped: set[str] = set()
    for problem in problems:
        for group in problem.groups:
            order = sorted(group, key=lambda file: -SPLITS.index(split[file]))
            if problem.kind in ("duplicate", "duplicate-across"):
                dropped.update(order[1:])
            elif problem.kind == "similar-across":
                dropped.update(file for file in order[1:] if split[file] != split[order[0]])
    return dropped


def _why_left_out(each: doctor.Facts, dropped: set[str], written: set[str]) -> str | None:
    if _name(each.item) in written:
        return "listed more than once"
    if str(each.item.photo) in dropped:
        return "the same as another photo"
    return next((kind for kind in each.kinds if kind in _LEFT_OUT), None)


def _write(each: doctor.Facts, collection: doctor.Collection, root: Path, done: Counter[str]) -> str | None:
    """Write a photo and its mask; the reason where that cannot be done."""
    item, name, kinds = each.item, _name(each.item), set(each.kinds)
    labels, _ = doctor.recover(item.mask, collection)
    if "exif-rotation" in kinds:
        labels = _upright(labels, doctor.read_photo(item.photo)[2])
    elif "mask-size" in kinds:
        shape = each.shape
        if abs(labels.shape[0] / labels.shape[1] / (shape[0] / shape[1]) - 1) > 0.02:
            return "mask-size"
        labels = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST)
    if "inverted-mask" in kinds:
        labels = np.where(labels == images.VOID, labels, labels == 0).astype(np.uint8)
    mended = kinds & _MASKS
    for kind in mended:
        done[f"mended: {kind}"] += 1
    # A photo is stored anew where a reader may see it otherwise than OpenCV does: colours, EXIF, HEIC.
    heic = item.photo.suffix.lower() in images.HEIC_SUFFIXES
    if kinds & {"cmyk-photo", "exif-rotation"} or heic:
        done["stored anew as upright RGB"] += 1
        pictures.write(root / "images" / f"{name}.png", images.read_image(item.photo))
    else:
        shutil.copy2(item.photo, root / "images" / f"{name}{item.photo.suffix}")
    colors = None if collection.binary else pictures.class_colors(collection)
    if mended or collection.published or item.mask.suffix.lower() != ".png":
        folder.write_mask(root / "masks" / f"{name}.png", labels, colors)
    else:
        shutil.copy2(item.mask, root / "masks" / f"{name}{item.mask.suffix}")
    return None


def _upright(labels: np.ndarray, orientation: int) -> np.ndarray:
    """Labels turned as an EXIF orientation of 5 to 8 turns the photo."""
    if orientation == 6:
        return np.ascontiguousarray(np.rot90(labels, -1))
    if orientation == 8:
        return np.ascontiguousarray(np.rot90(labels))
    turned = labels.T
    return np.ascontiguousarray(turned if orientation == 5 else turned[::-1, ::-1])
