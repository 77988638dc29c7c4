"""Which files a split of a dataset has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from keras_models.command import UserError
from keras_models.data.images import IMAGE_SUFFIXES, read_bytes

SPLITS = ("train", "val", "test")
SHARES = {"train": 8, "val": 1, "test": 1}  # of ten photos, where a folder has no lists


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files of `folder` that end in one of `suffixes`, by stem. UserError for two of one stem, and for none."""
    if not folder.is_dir():
        raise UserError(_missing(folder, suffixes))
    present = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found: dict[str, Path] = {}
    for path in present:
        if path.suffix.lower() in suffixes and found.setdefault(path.stem, path) != path:
            raise UserError(
                f"{found[path.stem]} and {path.name} have one stem, so that one of them would be left out. Remove or "
                "rename one."
            )
    if not found:
        kinds = ", ".join(f"{n} {kind or 'without'}" for kind, n in Counter(p.suffix for p in present).most_common(5))
        raise UserError(f"{folder} holds no file that ends in {', '.join(suffixes)}. It holds: {kinds or 'nothing'}.")
    return found


def _missing(folder: Path, suffixes: tuple[str, ...]) -> str:
    if not folder.parent.is_dir():
        return f"There is no folder {folder.parent}."
    said = f"There is no folder {folder}. Expected files that end in {', '.join(suffixes)} there."
    if folder.name == "masks":
        said += " Photos without masks get some by: python -m keras_models.data label."
    return f"{said} Published sets have layouts of their own: --dataset KIND, see python -m keras_models.data info."


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, stripped. UserError for what is no file or not UTF-8."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start + 1}). Save it as UTF-8.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def stem_of(line: str) -> str:
    """The stem that a line of a list names: its file's name without folder and without an image's suffix."""
    name = Path(line).name
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in IMAGE_SUFFIXES else name


def read_list(path: Path) -> list[str]:
    """The stems that a list names, one per line. UserError for an empty list and for a photo named twice."""
    stems = [stem_of(line) for line in read_lines(path)]
    if not stems:
        raise UserError(f"{path} is empty. Expected one photo's name per line.")
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        raise UserError(f"{path} names {_some(twice)} more than once. Remove the repeated lines.")
    return stems


def splits_of(root: Path) -> tuple[str, ...]:
    """The splits that `root` has a list of; all, divided, where it has none."""
    return tuple(split for split in SPLITS if (root / f"{split}.txt").exists()) or SPLITS


def lists_of(root: Path) -> dict[str, list[str]]:
    """The stems of each list that `root` has, by split. UserError for lists that share photos."""
    paths = {split: root / f"{split}.txt" for split in SPLITS}
    lists = {split: read_list(path) for split, path in paths.items() if path.exists() or path.is_symlink()}
    splits = list(lists)
    for i, split in enumerate(splits):
        for other in splits[i + 1 :]:
            shared = sorted(set(lists[split]) & set(lists[other]))
            if shared:
                raise UserError(
                    f"{paths[split]} and {paths[other].name} share {len(shared)} photo(s): {_some(shared)}. What is "
                    "measured on a photo that was trained on says nothing; remove them from one list."
                )
    return lists


def stems_of(root: Path, split: str, stems: list[str]) -> list[str]:
    """The stems of a split, or of `all`: from the lists, or out of `stems` where the folder has no lists at all."""
    lists = lists_of(root)
    if split == "all":
        return [stem for found in lists.values() for stem in found] or stems
    if split in lists:
        return lists[split]
    if lists:
        raise UserError(
            f"There is no {root / split}.txt, though {root} has lists of other splits. Write it, one name per line."
        )
    chosen = divide(stems)[split]
    if not chosen:
        raise UserError(f"{root} has {len(stems)} photos: too few for a {split} split. Ten is the least.")
    return chosen


def divide(stems: list[str]) -> dict[str, list[str]]:
    """Eight tenths to train, one to val and one to test, the photos of a burst to the same split.

    A burst is what has the same name but for a number at its end, after `_`, `-`, a space, a dot or a bracket, and for
    how near `data generate` went (`_x1.5`). Where more than a tenth of the photos have one name, the numbers just count
    them, and each stands for itself, with all that was cut out of it.
    """
    groups = bursts(stems).values()
    filled = dict.fromkeys(SPLITS, 0)
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for group in groups:
        split = min(SPLITS, key=lambda split: (filled[split] + len(group)) / SHARES[split])
        filled[split] += len(group)
        splits[split] += group
    return splits


def bursts(stems: Iterable[str]) -> dict[str, list[str]]:
    """The stems in the groups that `divide` keeps together, by the name that is common to a group."""
    photos = {stem: re.sub(r"_x\d+(\.\d+)?$", "", stem) for stem in stems}
    names = {stem: re.sub(r"[ _.(-]+\d+\)?$", "", photo) for stem, photo in photos.items()}
    counts = Counter(names.values())
    groups: dict[str, list[str]] = {}
    for stem, name in names.items():
        groups.setdefault(name if counts[name] <= len(names) / 10 else photos[stem], []).append(stem)
    return groups


def division_note(stems: list[str]) -> str:
    """What `divide` does with `stems`, in a sentence."""
    several = sum(len(group) > 1 for group in bursts(stems).values())
    kept = f", {several} groups of one name kept together" if several else ""
    counts = ", ".join(f"{len(found)} {split}" for split, found in divide(stems).items())
    return f"No lists: the {len(stems)} photos are divided by their names{kept}: {counts}."


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
