"""Which files a split of a dataset has."""

from __future__ import annotations

from pathlib import Path

from keras_models.command import UserError

SPLITS = ("train", "val", "test")


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Expected files that end in {', '.join(suffixes)} there.")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes}


def stems_of(root: Path, split: str, stems: list[str]) -> list[str]:
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
