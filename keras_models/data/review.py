"""Look through photos and masks in a browser, about a second a photo: keep, discard, or mend with a brush.

DIR is a dataset of the kind `folder`, as `data generate` and `data label` write it; where a `confidence.csv` lies in
it, the least sure photos come first. Every answer is appended to DIR/review.jsonl at once, and the same command goes on
where it was left. Nothing is deleted: a discarded photo leaves the lists (`train.txt` and so on) that training reads,
and a mask that is mended is first copied to DIR/masks-before-review. Undo takes both back.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from keras_models import command, pictures
from keras_models.command import UserError, option
from keras_models.data import folder, page
from keras_models.data.datasets import of_folder
from keras_models.data.images import IMAGE_SUFFIXES, MASK_SUFFIXES, VOID, holds_labels, read_mask
from keras_models.data.listing import SPLITS, by_stem, divide, lists_of

VERDICTS = ("keep", "discard")
ACTIONS = (*VERDICTS, "mend", "undo")


@dataclass(frozen=True)
class ReviewOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="folder with images/ and masks/")
    port: int = option(0, help="port on 127.0.0.1 (default: a free one)")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError for a folder that is no dataset, or that another window of this command has open."""
    options = command.parse(
        ReviewOptions,
        argv,
        program="python -m keras_models.data review",
        description=__doc__,
        example="python -m keras_models.data review ccp-portraits",
    )
    with Review(Path(options.data_dir)) as review:
        print(f"{review.summary()}\n")
        page.serve(review, options.port)
        print(f"{review.summary()}\nNext: python -m keras_models.train pocketnet_m --data-dir {options.data_dir}")
    return 0


class Review:
    """The decisions on a folder's photos, as a `page.Session`: what is in `review.jsonl`, and what follows from it.

    Of each photo there is a stack of decisions; undo takes off the uppermost. Its verdict is the last `keep` or
    `discard` in it, its mask the original with the strokes of every `mend` in it.
    """

    def __init__(self, root: Path):
        self.root, self.path = root, root / "review.jsonl"
        self.masks = by_stem(root / "masks", MASK_SUFFIXES)
        there = [stem for stem in by_stem(root / "images", IMAGE_SUFFIXES) if stem in self.masks]
        if not there:
            raise UserError(f"{root} holds no photo in images/ with a mask of the same name in masks/.")
        entries = self._read()
        self.file = self._open()
        self.split: dict[str, str] = {}  # of each photo, also of those discarded
        self.divided = False  # into tenths, for want of lists
        self.stacks: dict[str, list[dict]] = {}
        self.changed: list[str] = []  # names in the order of the actions, for windows that ask what is new
        self.history: list[str] = []  # of them, those that can be undone
        self.versions: dict[str, int] = {}  # how often each mask was changed
        for entry in entries:
            self._take(entry)
        behind = self._find_splits(there)
        names = sorted(set(self.split) & set(there))
        self.confidence = _confidence(root / "confidence.csv")
        names.sort(key=lambda name: self.confidence.get(name, 2))
        self.dataset = of_folder(root, root.name, names)
        self.index = {name: i for i, name in enumerate(names)}
        self.labelled = self._holds_labels()
        colors = pictures.class_colors(self.dataset)
        self.classes = [
            {"label": label, "name": name, "color": colors[label].tolist()}
            for label, name in enumerate(self.dataset.class_names)
        ]
        if self.labelled:
            self.classes.append({"label": VOID, "name": "void", "color": [255, 255, 255]})
        if behind:
            self._write_lists()

    def __enter__(self) -> Review:
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def state(self) -> dict:
        return {
            "mode": "review",
            "title": self.root.resolve().name,
            "photos": [self._photo(name) for name in self.dataset.names],
            "classes": self.classes,
            "history": [name for name in self.history if name in self.index][-100:],
            "seen": len(self.changed),
        }

    def apply(self, action: dict) -> dict:
        """Append an action to the list and let it take effect: `action`, `photo`, `strokes` of a `mend`.

        A stroke is {"label": l, "radius": r, "points": [[x, y], ...]} in fractions of the photo's width (radius, x) and
        height (y). The answer has the photos that changed since `seen`.
        """
        kind, name = action["action"], action["photo"]
        if kind not in ACTIONS or name not in self.index:
            raise UserError(f"No such action or photo: {kind!r}, {name!r}")
        entry = {"time": page.now(), "action": kind, "photo": name}
        if kind == "mend":
            entry["strokes"] = _checked(action["strokes"], {each["label"] for each in self.classes})
        if isinstance(action.get("seconds"), int | float):
            entry["seconds"] = round(float(action["seconds"]), 2)
        if isinstance(action.get("swap_ms"), int | float):
            entry["swap_ms"] = round(float(action["swap_ms"]), 1)
        stack, verdict = self.stacks.get(name, []), self._verdict(name)
        if kind == "undo" and not stack:
            raise UserError(f"There is nothing to undo on {name}.")
        mask_changes = kind == "mend" or (kind == "undo" and stack[-1]["action"] == "mend")
        if mask_changes and self.masks[name].suffix.lower() != ".png":
            raise UserError("Only PNG masks can be mended.")
        self._append(entry)
        self._take(entry)
        if mask_changes:
            self._write_mask(name)
        if "discard" in (verdict, self._verdict(name)):
            self._write_lists()
        since = action.get("seen", len(self.changed) - 1)
        return {"photos": [self._photo(each) for each in set(self.changed[since:])], "seen": len(self.changed)}

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        image, labels = page.fitted(*self.dataset.load(self.index[name]))
        colors = np.column_stack([pictures.class_colors(self.dataset), np.full(256, 255, np.uint8)])
        colors[0] = 0
        colors[VOID] = (255, 255, 255, 160)
        return image, colors[labels]

    def summary(self) -> str:
        """How far the review is, in a line."""
        verdicts = [self._verdict(name) for name in self.index]
        kept, discarded = (verdicts.count(verdict) for verdict in VERDICTS)
        mended = sum(any(entry["action"] == "mend" for entry in stack) for stack in self.stacks.values())
        seconds = [e["seconds"] for stack in self.stacks.values() for e in stack if "seconds" in e]
        pace = f", {np.median(seconds):.1f} s a photo" if seconds else ""
        return f"{len(verdicts)} photos: {kept} kept, {discarded} discarded, {mended} mended, " + (
            f"{len(verdicts) - kept - discarded} to look at{pace}"
        )

    def _photo(self, name: str) -> dict:
        stack = self.stacks.get(name, [])
        return {
            "name": name,
            "verdict": self._verdict(name),
            "version": self.versions.get(name, 0),
            "mended": any(entry["action"] == "mend" for entry in stack),
            "confidence": self.confidence.get(name),
        }

    def _verdict(self, name: str) -> str | None:
        verdicts = [entry["action"] for entry in self.stacks.get(name, []) if entry["action"] in VERDICTS]
        return verdicts[-1] if verdicts else None

    def _read(self) -> list[dict]:
        """The entries of the list, less a line that a power cut left unfinished."""
        if not self.path.is_file():
            return []
        entries = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entries.append(json.loads(line))
        return entries

    def _open(self):
        """The list, for appending, locked: a second command on the same folder would not see this one's decisions."""
        try:
            import fcntl

            file = self.path.open("ab+")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{self.root} is being reviewed already. Open that command's address once more.") from error
        except ImportError:  # Windows has no such locks
            file = self.path.open("ab+")
        except OSError as error:
            raise UserError(f"Cannot write {self.path}: {error.strerror}.") from error
        size = file.seek(0, os.SEEK_END)
        if size and (file.seek(size - 1), file.read(1))[1] != b"\n":
            file.write(b"\n")  # after a line that was cut short
        return file

    def _append(self, entry: dict) -> None:
        """One line, on the disk before this returns; nothing of it when the disk is full."""
        end = self.file.seek(0, os.SEEK_END)
        try:
            self.file.write(json.dumps(entry).encode() + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self.file.truncate(end)
            raise

    def _take(self, entry: dict) -> None:
        """Let an entry of the list take effect in memory."""
        if "listed" in entry:
            self.split |= {name: split for split, names in entry["listed"].items() for name in names}
            self.divided = entry["divided"]
            return
        name = entry["photo"]
        stack = self.stacks.setdefault(name, [])
        undone = entry["action"] == "undo"
        if undone and not stack:
            return
        if undone:
            del self.history[len(self.history) - 1 - self.history[::-1].index(name)]
        else:
            stack.append(entry)
            self.history.append(name)
        if (stack.pop() if undone else entry)["action"] == "mend":
            self.versions[name] = self.versions.get(name, 0) + 1
        self.changed.append(name)

    def _find_splits(self, there: list[str]) -> bool:
        """Find the split of every photo, and note it: once one is discarded, no list has it.

        What the lists say holds, whoever changed them since; of what they lack only discarded photos are remembered.
        Returns whether the lists are behind: they lack new photos, or have discarded ones.
        """
        noted, lists = self.split, lists_of(self.root)
        listed = {name: split for split, names in lists.items() for name in names}
        discarded = {name for name in noted if self._verdict(name) == "discard"}
        kept = {name: noted[name] for name in there if name in noted and (not lists or name in discarded)}
        new = {}
        if not lists or self.divided:  # there were none when the review began; those there are now are its own
            divided = divide([name for name in there if name not in noted and name not in listed])
            new = {name: split for split, names in divided.items() for name in names}
        found = kept | listed | new
        self.split = {name: found[name] for name in dict.fromkeys([*noted, *found]) if name in found}
        changed = {name: split for name, split in self.split.items() if noted.get(name) != split}
        if changed:
            entry = {split: [name for name, its in changed.items() if its == split] for split in SPLITS}
            self._append({"time": page.now(), "listed": entry, "divided": self.divided or not lists})
            self.divided = self.divided or not lists
        return bool(lists) and (bool(new) or not discarded.isdisjoint(listed))

    def _write_lists(self) -> None:
        """The splits without what is discarded; as long as nothing is, a folder without lists stays without."""
        has_lists = any((self.root / f"{split}.txt").is_file() for split in SPLITS)
        kept = {name: split for name, split in self.split.items() if self._verdict(name) != "discard"}
        if has_lists or len(kept) < len(self.split):
            folder.write_lists(self.root, {split: [n for n, its in kept.items() if its == split] for split in SPLITS})

    def _holds_labels(self) -> bool:
        """Whether the masks hold labels, and 255 for void; else they hold 0, and 255 for the foreground."""
        for name, i in self.index.items():
            with contextlib.suppress(UserError):  # one that is broken is shown as such, and can be discarded
                first = self.dataset.load(i)[1] == 1
                if first.any():
                    return bool(read_mask(self.masks[name])[first][0] == 1)
        return len(self.dataset.class_names) > 2

    def _write_mask(self, name: str) -> None:
        """The mask anew: the original, which is kept, and all strokes that hold."""
        path = self.masks[name]
        original = self.root / "masks-before-review" / path.name
        if not original.is_file():
            with command.whole_file(original) as copy:
                shutil.copyfile(path, copy)
        strokes = [s for entry in self.stacks[name] if entry["action"] == "mend" for s in entry["strokes"]]
        if not strokes:
            with command.whole_file(path) as copy:
                shutil.copyfile(original, copy)
            return
        values = draw(read_mask(original), strokes, 1 if self.labelled else 255)
        colors = pictures.class_colors(self.dataset) if holds_labels(original) else None
        pictures.write(path, values, colors)


def draw(values: np.ndarray, strokes: list[dict], scale: int) -> np.ndarray:
    """A mask's values uint8 (height, width) with strokes drawn into them, each of `scale` times its label."""
    values = values.copy()
    height, width = values.shape
    for stroke in strokes:
        value = VOID if stroke["label"] == VOID else stroke["label"] * scale
        points = np.round(np.array(stroke["points"]) * [width, height] - 0.5).astype(np.int32)
        radius = max(0, round(stroke["radius"] * width - 0.5))
        cv2.polylines(values, [points[:, None]], False, int(value), 2 * radius + 1)
        for x, y in points.tolist():
            cv2.circle(values, (x, y), radius, int(value), -1)
    return values


def _checked(strokes: list[dict], labels: set[int]) -> list[dict]:
    """Strokes of numbers alone, and not too many; UserError or TypeError for what is no stroke."""
    checked = []
    for stroke in strokes:
        points = [[round(float(x), 5), round(float(y), 5)] for x, y in stroke["points"]]
        radius = float(stroke["radius"])
        inside = all(-1 <= value <= 2 for point in points for value in point)
        if stroke["label"] not in labels or not points or not inside or not 0 < radius <= 1:
            raise UserError("A stroke has a label of the set, a radius of 0 to 1, and points within the photo.")
        checked.append({"label": stroke["label"], "radius": round(radius, 5), "points": points})
    if not checked:
        raise UserError("A mend has one stroke at least.")
    return checked


def _confidence(path: Path) -> dict[str, float]:
    """By a photo's name without its suffix, what `data label` wrote; nothing where it wrote nothing."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return {Path(row["image"]).stem: float(row["confidence"]) for row in csv.DictReader(file)}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no list of `data label`: columns image and confidence are missing.") from error
