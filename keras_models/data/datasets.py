"""Datasets in the layout of their own downloads, all seen as a list of (image, labels).

`folder`     `images/` and `masks/` with equal stems; optional `train.txt`, `val.txt`, `test.txt`, one stem per line.
             Masks are grey, 0 background and 255 foreground; or they hold labels from 0, and 255 for void, as grey
             PNG, palette PNG or `.mat`, and `classes.txt` names them (one per line, as `name` or `name R G B`). Without
             lists the photos are divided 8:1:1, see `listing.divide`
`eg1800`     EG1800 portraits (Shen et al., 2016), the same layout
`drawings`   drawn portraits, made on the fly; needs no data at all

The other published sets are in `published.py`. `register` adds one's own, and `package.module:function` is one without
registering: a function of (data_dir, split) that returns a `Dataset`.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from keras_models.data import drawings, packed
from keras_models.data.images import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    VOID,
    holds_labels,
    prepare_image,
    read_binary_mask,
    read_image,
    read_labels,
    read_mask,
)
from keras_models.data.listing import SPLITS, by_stem, division_note, lists_of, read_lines, splits_of, stems_of
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
    note: str = ""  # what was decided in the user's place, in a sentence, for a command to say
    paths: Callable[[int], tuple[Path, Path]] | None = None  # the files of photo and mask, where there are such
    read_mask: Callable[[Path], np.ndarray] | None = None  # labels of a mask's file

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Iterable[int], title: str) -> Dataset:
        """The photos of `indices` alone."""
        indices = tuple(indices)
        names = tuple(self.names[i] for i in indices)
        shares = None if self.shares is None else np.array([self.shares[i] for i in indices])
        shares = None if shares is None else tuple((shares / shares.sum()).tolist())
        paths = None if self.paths is None else lambda i: self.paths(indices[i])
        load = lambda i: self.load(indices[i])  # noqa: E731
        return replace(self, title=title, names=names, load=load, shares=shares, paths=paths)


Reader = Callable[[Path | None, str], Dataset]
_BUILT_IN = ("drawings", "eg1800", "folder", "mix", "packed", *PUBLISHED)
_REGISTERED: dict[str, Reader] = {}


def register(name: str, reader: Reader | None = None) -> Reader | Callable[[Reader], Reader]:
    """Make `reader(data_dir, split)`, which returns a `Dataset`, known to `load` and to the commands as `name`.

    As a decorator, or with the function as second argument. ValueError for a name that is taken.
    """
    if reader is None:
        return lambda function: register(name, function)
    if name in dataset_names():
        raise ValueError(f"There is a dataset of the name {name!r} already. Taken: {', '.join(dataset_names())}")
    _REGISTERED[name] = reader
    return reader


def load(name: str, data_dir: str | Path | None = None, split: str = "train") -> Dataset:
    """The split of a dataset, its files listed but not yet read; `all` is every split that is there.

    `name` is one of `dataset_names()` or `package.module:function`. UserError says what is missing and where.
    """
    reader = _reader(name)
    if split not in (*SPLITS, "all"):
        raise UserError(f"Unknown split. Valid names: {', '.join(SPLITS)}, all. Received: {split!r}")
    if name == "drawings":
        if data_dir is not None:
            raise UserError(f"The drawings need no folder. What kind of dataset is {data_dir}? Name it by --dataset.")
        return _drawings(split)
    if data_dir is None and name in _BUILT_IN:
        raise UserError(f"--dataset {name} needs --data-dir DIR, the folder with the photos.")
    if reader is not None:
        if split == "all":
            return _joined(name, data_dir)
        dataset = reader(None if data_dir is None else Path(data_dir), split)
        if not isinstance(dataset, Dataset):
            raise UserError(f"{name} must return a keras_models.data.Dataset. Received: {type(dataset).__name__}")
        return dataset if name in _BUILT_IN else replace(dataset, load=functools.partial(_load_checked, dataset))
    root = Path(data_dir)
    if not root.is_dir():
        raise UserError(f"There is no folder {root}. --data-dir must name the folder of the dataset {name!r}.")
    if name not in PUBLISHED:
        return _folder(root, split, name)
    published = PUBLISHED[name]
    if published.splits:
        if split == "all":
            return _joined(name, data_dir)
        if split not in published.splits(root):
            there = ", ".join(published.splits(root)) or "none"
            raise UserError(f"{root} has no {split} split of {name}. It has: {there}.")
    stems, files = published.files(root, split)
    facts = {"class_names": published.class_names, "colors": published.colors, "mirrored": published.mirrored}
    return _paired(f"{name} {split}", stems, files, published.read, **facts)


def _load_checked(dataset: Dataset, i: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo and its labels of one's own dataset. UserError when they are not what `Dataset` says."""
    image, labels = dataset.load(i)
    kinds = [f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__ for x in (image, labels)]
    height, width = labels.shape[:2] if isinstance(labels, np.ndarray) and labels.ndim > 1 else (0, 0)
    if kinds != [f"uint8 {(height, width, 3)}", f"uint8 {(height, width)}"]:
        raise UserError(
            f"{dataset.title}, {dataset.names[i]}: a photo is uint8 (height, width, 3) and its labels uint8 (height, "
            f"width). Received: {kinds[0]} and {kinds[1]}"
        )
    classes = len(dataset.class_names)
    if (wrong := np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[classes:VOID])).size:
        raise UserError(
            f"{dataset.title}, {dataset.names[i]}: label {classes + wrong[0]} is no class. There are {classes}, 0 to "
            f"{classes - 1}, and {VOID} for void."
        )
    return image, labels


def kind_of(dataset: str | None, data_dir: str | Path | None) -> str:
    """The kind that --dataset names; by itself a folder of photos and masks, and without one the drawings."""
    return dataset or ("folder" if data_dir else "drawings")


def _reader(name: str) -> Reader | None:
    """The function of a mix, a packed dataset or one of the user's own; None for the others."""
    if name == "mix":
        from keras_models.data import mix

        return mix.load
    if name == "packed":
        return _packed
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in dataset_names():
        return None
    if ":" not in name:
        raise UserError(
            f"Unknown dataset. Valid names: {', '.join(dataset_names())}; or package.module:function. Received: "
            f"{name!r}"
        )
    from keras_models import registry

    try:
        return registry.from_outside(name)
    except ValueError as error:
        raise UserError(f"There is no dataset {name!r}: {error}") from error


def _joined(name: str, data_dir: str | Path | None) -> Dataset:
    """All splits of a dataset, one after the other."""
    parts = [load(name, data_dir, split) for split in splits(name, data_dir)]
    if not parts:
        raise UserError(f"{data_dir} has no split of {name}.")
    places = [(part, i) for part in parts for i in range(len(part))]
    names = tuple(part.names[i] for part, i in places)

    def load_one(i: int):
        part, index = places[i]
        return part.load(index)

    return replace(parts[0], title=f"{name} all", names=names, load=load_one, shares=None, note="", paths=None)


def splits(name: str, data_dir: str | Path | None) -> tuple[str, ...]:
    """The splits that a dataset's folder has: by its own lists or folders, or else all, divided by tens."""
    reader = _reader(name)
    if name == "drawings":
        return SPLITS
    if name == "mix":
        from keras_models.data import mix

        return mix.splits(data_dir)
    if name == "packed":
        return _packed_splits(data_dir)
    if reader is not None:
        return _splits_of_own(name, data_dir)
    root = Path(data_dir)
    if name in PUBLISHED and PUBLISHED[name].splits:
        return PUBLISHED[name].splits(root)
    return splits_of(root)


def _splits_of_own(name: str, data_dir: str | Path | None) -> tuple[str, ...]:
    """The splits that one's own dataset gives photos of. UserError when each fails, that of the first."""
    found, failures = [], []
    for split in SPLITS:
        try:
            found += [split] if len(load(name, data_dir, split)) else []
        except UserError as error:
            failures.append(error)
    if len(failures) == len(SPLITS):
        raise failures[0]
    return tuple(found)


def dataset_names() -> list[str]:
    """The names that `load` accepts."""
    return sorted([*_BUILT_IN, *_REGISTERED])


def _folder(root: Path, split: str, name: str) -> Dataset:
    stems = sorted(by_stem(root / "images", IMAGE_SUFFIXES))
    note = "" if split == "all" or lists_of(root) else division_note(stems)
    return of_folder(root, f"{name} {split}", stems_of(root, split, stems), note)


def of_folder(root: Path, title: str, stems: list[str], note: str = "") -> Dataset:
    """The photos `stems` of a folder with `images/` and `masks/`, whatever its lists say."""
    images, masks = by_stem(root / "images", IMAGE_SUFFIXES), by_stem(root / "masks", MASK_SUFFIXES)
    read, names, colors = folder_masks(root, list(masks.values()))
    files = {root / "images": images, root / "masks": masks}
    return _paired(title, stems, files, read, class_names=names or CLASS_NAMES, colors=colors, note=note)


def folder_masks(root: Path, masks: list[Path]) -> tuple[Callable[[Path], np.ndarray], tuple | None, tuple | None]:
    """How the masks of a folder are read, and the names and colours of its classes, as far as there are such."""
    listed = root / "classes.txt"
    names, colors = _read_classes(listed) if listed.is_file() else (_found_classes(masks), None)
    if names is None or (len(names) == 2 and _only_void(masks)):
        return read_binary_mask, names, colors
    return functools.partial(read_labels, classes=len(names)), names, colors


def _read_classes(path: Path) -> tuple[tuple[str, ...], tuple | None]:
    """Names and colours of `classes.txt`: one class per line, background first, as `name` or `name R G B`."""
    names, colors = [], []
    for number, line in enumerate(read_lines(path), start=1):
        words = line.split()
        color = words[-3:] if len(words) > 3 and all(w.isascii() and w.isdigit() for w in words[-3:]) else []
        if any(int(value) > 255 for value in color):
            raise UserError(f"{path}, line {number}: a colour is three numbers from 0 to 255. Received: {line!r}")
        names.append(" ".join(words[: len(words) - len(color)]))
        colors.append(tuple(map(int, color)))
    if not 2 <= len(names) <= VOID or len(set(names)) < len(names):
        raise UserError(f"{path} must name 2 to {VOID} different classes, one per line. Received: {len(names)} lines")
    return tuple(names), tuple(colors) if all(colors) else None


def _values(path: Path) -> np.ndarray:
    """The values of a mask; 0 for one that cannot be read: whoever reads it will say so."""
    try:
        return np.unique(read_mask(path))
    except UserError:
        return np.zeros(1, np.uint8)


def _a_few(masks: list[Path], count: int = 8) -> list[Path]:
    return masks[:: max(1, len(masks) // count)]


def _only_void(masks: list[Path]) -> bool:
    """Whether grey masks hold 255 and 0 alone: of two classes, no label 1, all would be background or void."""
    if any(holds_labels(path) for path in _a_few(masks)):
        return False
    values = np.unique(np.concatenate([_values(path) for path in _a_few(masks)] or [np.zeros(1, np.uint8)]))
    return VOID in values and 1 not in values


def _found_classes(masks: list[Path]) -> tuple[str, ...] | None:
    """Numbered classes where masks hold labels that no list names; None for masks of 0 and 255.

    Palettes and MATLAB files hold labels. Grey masks tell by the values in a few of them: between 0 and 255 a smoothed
    edge goes through all greys, labels stay low.
    """

    def highest(path: Path) -> int:
        return int(np.setdiff1d(_values(path), VOID).max(initial=0))

    labelled = [path for path in masks if holds_labels(path)]
    if not masks or (labelled and len(labelled) < len(masks)):
        return None
    if not labelled and not 1 < max(map(highest, _a_few(masks))) <= 127:
        return None
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        count = 1 + max(pool.map(highest, masks))
    return CLASS_NAMES if count <= 2 else ("background", *(f"class {i}" for i in range(1, count)))


def _paired(title, stems, files: dict[Path, dict[str, Path]], read, **facts) -> Dataset:
    """The dataset of `stems` from the photos and the masks in `files`: two folders, each with its files by stem."""
    _require_partners(stems, files)
    images, masks = files.values()

    def load(i: int):
        return _same_size(read_image(images[stems[i]]), read(masks[stems[i]]), masks[stems[i]])

    def paths(i: int) -> tuple[Path, Path]:
        return images[stems[i]], masks[stems[i]]

    return Dataset(title, tuple(stems), load, paths=paths, read_mask=read, **facts)


def _packed_splits(data_dir: str | Path) -> tuple[str, ...]:
    try:
        return packed.splits(data_dir)
    except ValueError as error:
        raise UserError(str(error)) from error


def _packed(data_dir: Path, split: str) -> Dataset:
    if split not in _packed_splits(data_dir):
        raise UserError(f"{data_dir} has no {split} split. It has: {', '.join(_packed_splits(data_dir))}.")
    try:
        photos = packed.Packed(data_dir, split)
    except ValueError as error:
        raise UserError(str(error)) from error

    def load(i: int):
        try:
            return photos[i]
        except ValueError as error:
            raise UserError(str(error)) from error

    colors = None if photos.colors is None else tuple(tuple(color) for color in photos.colors)
    return Dataset(f"packed {split}", photos.names, load, photos.class_names, colors, photos.mirrored, photos.shares)


def _drawings(split: str) -> Dataset:
    first, count = {"train": (0, 1000), "val": (1000, 100), "test": (1100, 200), "all": (0, 1300)}[split]
    names = tuple(f"drawing-{first + i:04d}" for i in range(count))
    return Dataset(f"drawings {split}", names, lambda i: drawings.draw(first + i))


def _require_partners(stems: list[str], folders: dict[Path, dict[str, Path]]) -> None:
    missing = [_absent(folder, stem, files) for folder, files in folders.items() for stem in stems if stem not in files]
    if missing:
        raise UserError(_listing("Photos and masks do not pair up:", missing))


def _absent(folder: Path, stem: str, files: dict[str, Path]) -> str:
    other = next((path.name for path in sorted(folder.glob(f"{glob.escape(stem)}.*"))), None)
    if other is None:
        return f"{folder / stem}.* (listed, not there)"
    kinds = ", ".join(sorted({path.suffix for path in files.values()}))
    return f"{folder / other} (its kind does not count here; those that are read end in {kinds})"


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


def require_foreground(dataset: Dataset) -> None:
    """UserError when every label of `dataset` is its first class or void: nothing could be learned or measured.

    It reads photos in a mixed order up to the first that shows more, so mostly one. A broken one ends it silently:
    whoever reads them all names every one.
    """
    for i in np.random.default_rng(0).permutation(len(dataset)):
        try:
            labels = dataset.load(int(i))[1]
        except UserError:
            return
        if np.setdiff1d(labels, (0, VOID)).size:
            return
    raise UserError(
        f"No mask of {dataset.title} shows anything but {dataset.class_names[0]} or void: nothing could be learned or "
        "measured. See python -m keras_models.data check."
    )


def looks_inverted(mask: np.ndarray) -> bool:
    """Whether the foreground of a mask (float 0-1, square) surrounds a background that touches no upper border.

    People stand at the bottom of photos, and the background is behind them: at the top and at the upper sides.
    """
    half, quarter = len(mask) // 2, len(mask) // 4
    upper = np.concatenate([mask[0], mask[:half, 0], mask[:half, -1]])
    middle = mask[quarter : half + quarter, quarter : half + quarter]
    return upper.mean() > 0.95 and (1 - mask).mean() > 0.12 and (1 - middle).mean() > 0.15


def inverted_note(dataset: Dataset, count: int = 16) -> str:
    """A warning where most of some masks of background and foreground look inverted, or nothing.

    There are things that surround the rest of a photo, as a sky does, so it is no error. Photos that cannot be read are
    passed over: whoever reads them all names every one.
    """
    from keras_models.data.pipeline import subsample

    if len(dataset.class_names) > 2:
        return ""
    masks = []
    for i in np.random.default_rng(0).permutation(len(dataset))[:count]:
        with contextlib.suppress(UserError):
            masks.append((subsample(dataset.load(int(i))[1], (64, 64)) == 1).astype(np.float32))
    inverted = sum(map(looks_inverted, masks))
    if inverted <= len(masks) / 2:
        return ""
    return (
        f"WARNING: {inverted} of {len(masks)} masks of {dataset.title} look inverted, {dataset.class_names[1]} all "
        "around. See python -m keras_models.data check."
    )


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
    chosen = sorted(np.random.default_rng(seed).permutation(len(names))[:count].tolist())
    return [names[i] for i in chosen], np.stack([prepare_image(reader(i), input_size) for i in chosen])
