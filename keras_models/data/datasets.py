"""Datasets in the layout of their own downloads, all seen as a list of (image, labels).

`folder`     `images/` and `masks/` with equal stems; optional `train.txt`, `val.txt`, `test.txt`, one stem per line.
             Masks are grey, 0 background and 255 foreground; or they hold labels from 0, and 255 for void, as grey
             PNG, palette PNG or `.mat`, and `classes.txt` names them (one per line, as `name` or `name R G B`)
`eg1800`     EG1800 portraits (Shen et al., 2016), the same layout
`drawings`   drawn portraits, made on the fly; needs no data at all

The other published sets are in `published.py`.
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from keras_models.data import drawings
from keras_models.data.images import (
    IMAGE_SUFFIXES,
    VOID,
    holds_labels,
    prepare_image,
    read_binary_mask,
    read_image,
    read_labels,
    read_mask,
)
from keras_models.data.listing import SPLITS, by_stem, stems_of
from keras_models.data.published import PUBLISHED

CLASS_NAMES = ("background", "person")


@dataclass(frozen=True)
class Dataset:
    """Labelled photos. `load(i)` gives RGB uint8 (height, width, 3) and labels uint8 (height, width), 255 for void.

    `load` raises UserError with the file's name for anything it cannot read.
    """

    title: str
    names: tuple[str, ...]
    load: Callable[[int], tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...] = CLASS_NAMES
    colors: tuple[tuple[int, int, int], ...] | None = None  # RGB of each class; None: `pictures.palette`
    mirrored: tuple[tuple[int, int], ...] = ()  # pairs of labels, left and right, that a mirrored photo exchanges
    shares: tuple[float, ...] | None = None  # how often training draws each photo; None: all alike

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Iterable[int], title: str) -> Dataset:
        """The photos of `indices` alone."""
        indices = tuple(indices)
        names = tuple(self.names[i] for i in indices)
        shares = None if self.shares is None else tuple(self.shares[i] for i in indices)
        return replace(self, title=title, names=names, load=lambda i: self.load(indices[i]), shares=shares)


def load(name: str, data_dir: str | Path | None = None, split: str = "train") -> Dataset:
    """The split of a dataset, its files listed but not yet read. UserError says what is missing and where."""
    if name not in dataset_names():
        raise UserError(f"Unknown dataset. Valid names: {', '.join(dataset_names())}. Received: {name!r}")
    if split not in SPLITS:
        raise UserError(f"Unknown split. Valid names: {', '.join(SPLITS)}. Received: {split!r}")
    if name == "drawings":
        return _drawings(split)
    if data_dir is None:
        raise UserError(f"--dataset {name} needs --data-dir DIR, the folder with the photos.")
    if name == "mix":
        from keras_models.data import mix

        return mix.load(data_dir, split)
    root = Path(data_dir)
    if not root.is_dir():
        raise UserError(f"There is no folder {root}. --data-dir must name the folder of the dataset {name!r}.")
    if name in PUBLISHED:
        published = PUBLISHED[name]
        if published.splits and split not in published.splits(root):
            there = ", ".join(published.splits(root)) or "none"
            raise UserError(f"{root} has no {split} split of {name}. It has: {there}.")
        stems, files = published.files(root, split)
        facts = {"class_names": published.class_names, "colors": published.colors, "mirrored": published.mirrored}
        return _paired(f"{name} {split}", stems, files, published.read, **facts)
    return _folder(root, split, name)


def splits(name: str, data_dir: str | Path) -> tuple[str, ...]:
    """The splits that a dataset's folder has: by its own lists or folders, or else all, divided by tens."""
    if name == "mix":
        return ("train", "val")
    root = Path(data_dir)
    if name in PUBLISHED and PUBLISHED[name].splits:
        return PUBLISHED[name].splits(root)
    return tuple(split for split in SPLITS if (root / f"{split}.txt").is_file()) or SPLITS


def dataset_names() -> list[str]:
    """The names that `load` accepts."""
    return sorted(["folder", "eg1800", "drawings", "mix", *PUBLISHED])


def _folder(root: Path, split: str, name: str) -> Dataset:
    images, masks = by_stem(root / "images", IMAGE_SUFFIXES), by_stem(root / "masks", (".png", ".bmp", ".mat"))
    stems = stems_of(root, split, sorted(images))
    listed = root / "classes.txt"
    names, colors = _read_classes(listed) if listed.is_file() else (_found_classes(list(masks.values())), None)
    read = read_binary_mask if names is None else lambda path: read_labels(path, len(names))
    files = {root / "images": images, root / "masks": masks}
    return _paired(f"{name} {split}", stems, files, read, class_names=names or CLASS_NAMES, colors=colors)


def _read_classes(path: Path) -> tuple[tuple[str, ...], tuple | None]:
    """Names and colours of `classes.txt`: one class per line, background first, as `name` or `name R G B`."""
    names, colors = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        color = words[-3:] if len(words) > 3 and all(word.isdigit() for word in words[-3:]) else []
        if any(int(value) > 255 for value in color):
            raise UserError(f"{path}, line {number}: a colour is three numbers from 0 to 255. Received: {line!r}")
        names.append(" ".join(words[: len(words) - len(color)]))
        colors.append(tuple(map(int, color)))
    if not 2 <= len(names) <= VOID or len(set(names)) < len(names):
        raise UserError(f"{path} must name 2 to {VOID} different classes, one per line. Received: {len(names)} lines")
    return tuple(names), tuple(colors) if all(colors) else None


def _found_classes(masks: list[Path], looked_at: int = 8) -> tuple[str, ...] | None:
    """Numbered classes where masks hold labels that no list names; None for masks of 0 and 255.

    Palettes and MATLAB files hold labels. Grey masks tell by the values in a few of them: between 0 and 255 a smoothed
    edge goes through all greys, labels stay low. A mask that cannot be read says nothing here; whoever reads it will.
    """

    def values(path: Path) -> np.ndarray:
        try:
            return np.setdiff1d(read_mask(path), VOID)
        except UserError:
            return np.zeros(1, np.uint8)

    labelled = [path for path in masks if holds_labels(path)]
    if not masks or (labelled and len(labelled) < len(masks)):
        return None
    if not labelled:
        highest = max(values(path).max(initial=0) for path in masks[:: max(1, len(masks) // looked_at)])
        if highest <= 1 or highest > 127:
            return None
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        count = 1 + max(int(found.max(initial=0)) for found in pool.map(values, masks))
    return CLASS_NAMES if count <= 2 else ("background", *(f"class {i}" for i in range(1, count)))


def _paired(title, stems, files: dict[Path, dict[str, Path]], read, **facts) -> Dataset:
    """The dataset of `stems` from the photos and the masks in `files`: two folders, each with its files by stem."""
    _require_partners(stems, files)
    images, masks = files.values()

    def load(i: int):
        return _same_size(read_image(images[stems[i]]), read(masks[stems[i]]), masks[stems[i]])

    return Dataset(title, tuple(stems), load, **facts)


def _drawings(split: str) -> Dataset:
    first, count = {"train": (0, 1000), "val": (1000, 100), "test": (1100, 200)}[split]
    names = tuple(f"drawing-{first + i:04d}" for i in range(count))
    return Dataset(f"drawings {split}", names, lambda i: drawings.draw(first + i))


def _require_partners(stems: list[str], folders: dict[Path, dict[str, Path]]) -> None:
    missing = [
        f"{folder / stem}.* (listed, not there)"
        for folder, files in folders.items()
        for stem in stems
        if stem not in files
    ]
    if missing:
        raise UserError(_listing("Photos and masks do not pair up:", missing))


def _same_size(image: np.ndarray, labels: np.ndarray, mask_path: Path) -> tuple[np.ndarray, np.ndarray]:
    if labels.shape != image.shape[:2]:
        raise UserError(
            f"{mask_path} is {labels.shape[1]}x{labels.shape[0]}, but its photo is {image.shape[1]}x{image.shape[0]}. "
            "A mask must have the size of its photo, after the photo's EXIF rotation."
        )
    return image, labels


def _listing(title: str, problems: list[str], limit: int = 20) -> str:
    more = [f"  ... and {len(problems) - limit} more"] if len(problems) > limit else []
    return "\n".join([title, *(f"  {problem}" for problem in problems[:limit]), *more])


def in_order(function: Callable[[int], object], count: int) -> Iterator:
    """`function(0)` to `function(count - 1)`, made in threads; no more than a few wait in memory for their turn."""
    workers = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque(pool.submit(function, i) for i in range(min(2 * workers, count)))
        for i in range(count):
            result = waiting.popleft().result()
            if i + 2 * workers < count:
                waiting.append(pool.submit(function, i + 2 * workers))
            yield result


def read_each(
    dataset: Dataset, convert: Callable[[np.ndarray, np.ndarray], object], progress: Callable | None = None
) -> Iterator:
    """`convert(image, labels)` of every photo in order, read ahead in threads.

    Broken photos end it: the rest is read for more of them, then one UserError names them all.
    """
    problems = []

    def read(i: int):
        try:
            return convert(*dataset.load(i))
        except UserError as error:
            return error

    for i, result in enumerate(in_order(read, len(dataset))):
        if isinstance(result, UserError):
            problems.append(result)
        if not problems:
            yield result
        if progress:
            progress(i + 1, len(dataset))
    if problems:
        raise UserError(_listing(f"{len(problems)} of {len(dataset)} in {dataset.title} are broken:", problems))


def calibration_images(
    source: str | Path | Dataset, count: int, input_size: tuple[int, int], seed: int = 0
) -> tuple[list[str], np.ndarray]:
    """Names and RGB uint8 (count, height, width, 3) of up to `count` photos of a folder or dataset, drawn by `seed`."""
    if isinstance(source, Dataset):
        names, reader = list(source.names), lambda i: source.load(i)[0]
    else:
        folder = Path(source)
        folder = next((folder / sub for sub in ("images", "photos") if (folder / sub).is_dir()), folder)
        paths = list(by_stem(folder, IMAGE_SUFFIXES).values())
        names, reader = [path.name for path in paths], lambda i: read_image(paths[i])
        if not paths:
            raise UserError(f"{folder} holds no photo ({', '.join(IMAGE_SUFFIXES)}).")
    chosen = sorted(np.random.default_rng(seed).permutation(len(names))[:count].tolist())
    return [names[i] for i in chosen], np.stack([prepare_image(reader(i), input_size) for i in chosen])
