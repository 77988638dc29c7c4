"""Datasets in the layout of their own downloads, all seen as a list of (image, labels).

`folder`    `images/` and `masks/` with equal stems; optional `train.txt`, `val.txt`, `test.txt` with one stem per line
`eg1800`    EG1800 portraits (Shen et al., 2016), the same layout
`ccp`       Clothing Co-Parsing: `photos/`, `annotations/pixel-level/*.mat`; the person is every pixel that is not null
`drawings`  drawn portraits, made on the fly; needs no data at all
"""

from __future__ import annotations

import concurrent.futures
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from keras_models.data import drawings
from keras_models.data.images import IMAGE_SUFFIXES, prepare_image, read_binary_mask, read_image

SPLITS = ("train", "val", "test")
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

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Iterable[int], title: str) -> Dataset:
        """The photos of `indices` alone."""
        indices = tuple(indices)
        return Dataset(title, tuple(self.names[i] for i in indices), lambda i: self.load(indices[i]), self.class_names)


def load(name: str, data_dir: str | Path | None = None, split: str = "train") -> Dataset:
    """The split of a dataset, its files listed but not yet read. UserError says what is missing and where."""
    if name not in _READERS:
        raise UserError(f"Unknown dataset. Valid names: {', '.join(dataset_names())}. Received: {name!r}")
    if split not in SPLITS:
        raise UserError(f"Unknown split. Valid names: {', '.join(SPLITS)}. Received: {split!r}")
    if name == "drawings":
        return _drawings(split)
    if data_dir is None:
        raise UserError(f"--dataset {name} needs --data-dir DIR, the folder with the photos.")
    root = Path(data_dir)
    if not root.is_dir():
        raise UserError(f"There is no folder {root}. --data-dir must name the folder of the dataset {name!r}.")
    return _READERS[name](root, split, name)


def dataset_names() -> list[str]:
    """The names that `load` accepts."""
    return sorted(_READERS)


def _folder(root: Path, split: str, name: str) -> Dataset:
    images, masks = _by_stem(root / "images", IMAGE_SUFFIXES), _by_stem(root / "masks", (".png", ".bmp"))
    stems = _split(root, split, sorted(images))
    _require_partners(stems, {"images": images, "masks": masks}, root)

    def read(i: int):
        return _same_size(read_image(images[stems[i]]), read_binary_mask(masks[stems[i]]), masks[stems[i]])

    return Dataset(f"{name} {split}", tuple(stems), read)


def _ccp(root: Path, split: str, name: str) -> Dataset:
    photos = _by_stem(root / "photos", IMAGE_SUFFIXES)
    annotations = _by_stem(root / "annotations" / "pixel-level", (".mat",))
    stems = _split(root, split, sorted(photos.keys() & annotations.keys()))
    _require_partners(stems, {"photos": photos, "annotations/pixel-level": annotations}, root)

    def read(i: int):
        labels = _read_ccp_labels(annotations[stems[i]])
        return _same_size(read_image(photos[stems[i]]), (labels > 0).astype(np.uint8), annotations[stems[i]])

    return Dataset(f"{name} {split}", tuple(stems), read)


def _read_ccp_labels(path: Path) -> np.ndarray:
    import scipy.io

    try:
        labels = scipy.io.loadmat(path)["groundtruth"]
    except (scipy.io.matlab.MatReadError, OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise UserError(f"{path} is no CCP annotation with a variable 'groundtruth': {error}") from error
    return np.asarray(labels, np.uint8)


def _drawings(split: str) -> Dataset:
    first, count = {"train": (0, 1000), "val": (1000, 100), "test": (1100, 200)}[split]
    names = tuple(f"drawing-{first + i:04d}" for i in range(count))
    return Dataset(f"drawings {split}", names, lambda i: drawings.draw(first + i))


_READERS = {"folder": _folder, "eg1800": _folder, "ccp": _ccp, "drawings": None}


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Expected files that end in {', '.join(suffixes)} there.")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes}


def _split(root: Path, split: str, stems: list[str]) -> list[str]:
    """The stems of a split: from its list, or every tenth photo for validation where the folder has no lists at all."""
    listing = root / f"{split}.txt"
    if listing.is_file():
        stems = [Path(line.strip()).stem for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not stems:
            raise UserError(f"{listing} is empty. Expected one photo's name per line.")
        return stems
    if any((root / f"{other}.txt").is_file() for other in SPLITS):
        raise UserError(f"There is no {listing}, though {root} has lists of other splits. Write it, one name per line.")
    chosen = {"train": [s for i, s in enumerate(stems) if i % 10 < 8], "val": stems[8::10], "test": stems[9::10]}[split]
    if not chosen:
        raise UserError(f"{root} has {len(stems)} photos: too few for a {split} split. Ten is the least.")
    return chosen


def _require_partners(stems: list[str], folders: dict[str, dict[str, Path]], root: Path) -> None:
    missing = [
        f"{root / folder / stem}.* (listed, not there)"
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


def read_all(dataset: Dataset, convert: Callable[[np.ndarray, np.ndarray], object], progress=None) -> list:
    """`convert(image, labels)` of every photo, read in parallel; one UserError names every photo that is broken."""
    problems, results = [], []

    def read(i: int):
        try:
            return convert(*dataset.load(i))
        except UserError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, result in enumerate(pool.map(read, range(len(dataset)))):
            (problems if isinstance(result, UserError) else results).append(result)
            if progress:
                progress(i + 1, len(dataset))
    if problems:
        raise UserError(_listing(f"{len(problems)} of {len(dataset)} in {dataset.title} are broken:", problems))
    return results


def calibration_images(
    source: str | Path | Dataset, count: int, input_size: tuple[int, int], seed: int = 0
) -> tuple[list[str], np.ndarray]:
    """Names and RGB uint8 (count, height, width, 3) of up to `count` photos of a folder or dataset, drawn by `seed`."""
    if isinstance(source, Dataset):
        names, reader = list(source.names), lambda i: source.load(i)[0]
    else:
        folder = Path(source)
        folder = next((folder / sub for sub in ("images", "photos") if (folder / sub).is_dir()), folder)
        paths = list(_by_stem(folder, IMAGE_SUFFIXES).values())
        names, reader = [path.name for path in paths], lambda i: read_image(paths[i])
        if not paths:
            raise UserError(f"{folder} holds no photo ({', '.join(IMAGE_SUFFIXES)}).")
    chosen = sorted(np.random.default_rng(seed).permutation(len(names))[:count].tolist())
    return [names[i] for i in chosen], np.stack([prepare_image(reader(i), input_size) for i in chosen])
