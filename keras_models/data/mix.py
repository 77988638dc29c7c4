"""Several datasets as one: `--dataset mix --data-dir mix.toml`.

    [[set]]
    dataset = "eg1800"        # a dataset's name; `background` for a folder `images/` of photos without people,
                              # `photos` for one of photos without masks, which only a --teacher teaches
    data_dir = "eg1800"       # relative to this file
    weight = 2                # share of the photos drawn for training (default 1)
    train = "train"           # the split to train on (default train)
    val = "val"               # the split to validate on, or ...
    holdout = 0.1             # ... this share of the training split, kept out of training, bursts as a whole

An epoch draws as many photos as there are, each set by its weight, however large it is.
"""

from __future__ import annotations

import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from keras_models.data import datasets
from keras_models.data.images import IMAGE_SUFFIXES, VOID, read_image
from keras_models.data.listing import bursts, by_stem

WITHOUT_MASKS = {"background": 0, "photos": VOID}  # the label of every pixel


@dataclass(frozen=True)
class Part:
    """One `[[set]]` of a mix."""

    dataset: str
    data_dir: str
    weight: float = 1.0
    train: str = "train"
    val: str | None = None
    holdout: float = 0.0


def read(path: str | Path) -> list[Part]:
    """The sets that a mix names, their folders made absolute. UserError says which line does not fit."""
    path = Path(path)
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no list of datasets: {error}. See python -m keras_models.data --help.") from error
    if set(listed) != {"set"} or not isinstance(listed["set"], list):
        raise UserError(f"{path} must hold [[set]] tables and nothing else. Received: {', '.join(listed) or 'nothing'}")
    return [_part(path, number, table) for number, table in enumerate(listed["set"], start=1)]


def _part(path: Path, number: int, table: dict) -> Part:
    where = f"{path}, set {number}"
    try:
        part = Part(**{**table, "data_dir": str((path.parent / table.get("data_dir", "")).resolve())})
    except TypeError as error:
        raise UserError(f"{where}: known keys are {', '.join(Part.__dataclass_fields__)}. {error}") from error
    if part.dataset not in (*datasets.dataset_names(), *WITHOUT_MASKS):
        raise UserError(f"{where}: unknown dataset {part.dataset!r}. Valid: {', '.join(datasets.dataset_names())}")
    if not (isinstance(part.weight, int | float) and 0 < part.weight < 1e6):
        raise UserError(f"{where}: weight must be a number above 0. Received: {part.weight!r}")
    if not (isinstance(part.holdout, int | float) and 0 <= part.holdout < 1):
        raise UserError(f"{where}: holdout is a share of the photos, 0 or more and below 1. Received: {part.holdout!r}")
    if part.holdout and part.val:
        raise UserError(f"{where}: give val or holdout, not both.")
    return part


def load(path: str | Path, split: str) -> datasets.Dataset:
    """The photos of a mix for training (`train`) or validation (`val`); no other split."""
    if split not in ("train", "val"):
        raise UserError(f"{path} is a mix: it has the splits train and val. Measure on one of its sets alone.")
    found = [(part, dataset) for part in read(path) if (dataset := _load(part, split)) is not None]
    if not found:
        raise UserError(f"{path} has no photos for {split}. Give its sets `val` or `holdout`.")
    names, loaders, weights = [], [], []
    first = next((dataset for part, dataset in found if part.dataset not in WITHOUT_MASKS), found[0][1])
    for part, dataset in found:
        if part.dataset == "background" and first.class_names[0] != "background":
            raise UserError(f"{path}: the first class is {first.class_names[0]}; leave the background photos out.")
        if dataset.class_names != first.class_names and part.dataset not in WITHOUT_MASKS:
            raise UserError(f"{path}: {part.dataset} has classes {dataset.class_names}, others {first.class_names}.")
        names += [f"{part.dataset}/{name}" for name in dataset.names]
        loaders += [(dataset.load, i) for i in range(len(dataset))]
        weights += [part.weight / len(dataset)] * len(dataset)

    def load_one(i: int):
        function, index = loaders[i]
        return function(index)

    bare = sum(len(dataset) for part, dataset in found if part.dataset == "photos")
    note = f"{bare} photos have no masks: only a --teacher teaches anything by them." if bare else ""
    shares = tuple((np.array(weights) / np.sum(weights)).tolist()) if split == "train" else None
    return datasets.Dataset(
        f"mix {split}", tuple(names), load_one, first.class_names, first.colors, first.mirrored, shares, note
    )


def splits(path: str | Path) -> tuple[str, ...]:
    """The splits that a mix has. UserError as for `read`."""
    return ("train", "val") if any(part.val or part.holdout for part in read(path)) else ("train",)


def _load(part: Part, split: str) -> datasets.Dataset | None:
    if part.dataset in WITHOUT_MASKS:
        return _without_masks(part) if split == "train" else None
    if split == "val" and part.val:
        return datasets.load(part.dataset, part.data_dir, part.val)
    if split == "val" and not part.holdout:
        return None
    whole = datasets.load(part.dataset, part.data_dir, part.train)
    if not part.holdout:
        return whole
    # By the name's hash, not by position: a photo that is added or removed moves none but those of its burst.
    keys = {stem: common for common, group in bursts(whole.names).items() if len(group) > 1 for stem in group}
    held = [zlib.crc32(keys.get(name, name).encode()) % 10_000 < part.holdout * 10_000 for name in whole.names]
    chosen = [i for i, kept_out in enumerate(held) if kept_out == (split == "val")]
    return whole.subset(chosen, f"{whole.title} ({split})")


def _without_masks(part: Part) -> datasets.Dataset:
    root = Path(part.data_dir) / "images"
    photos = by_stem(root, IMAGE_SUFFIXES)
    names = tuple(photos)

    def load_one(i: int):
        image = read_image(photos[names[i]])
        return image, np.full(image.shape[:2], WITHOUT_MASKS[part.dataset], np.uint8)

    return datasets.Dataset(part.dataset, names, load_one)
