"""Write a dataset into a few files that are read at the disk's speed: photos at a chosen side, JPEG, and their labels.

The result is read as `--dataset packed --data-dir OUT`, or by `packed.py` alone, with numpy and Pillow.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from keras_models import command, data
from keras_models.command import UserError, option
from keras_models.data import datasets, folder


@dataclass(frozen=True)
class PackOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    output: str = option(metavar="OUT", help="a new folder")
    dataset: str = option("folder", metavar="KIND", help="its kind; python -m keras_models.data info lists them")
    side: int = option(
        256, help="shorter side that larger photos are scaled to, in pixels: 1.5 times the network's input"
    )
    quality: int = option(90, help="of the JPEGs, 1 to 100")
    shard_mb: float = option(100.0, help="megabytes at which a file is full")


def main(argv: list[str] | None = None) -> int:
    """The command. UserError names every photo that is broken; nothing is left behind then."""
    options = command.parse(
        PackOptions,
        argv,
        program="python -m keras_models.data pack",
        description=__doc__,
        example="python -m keras_models.data pack eg1800 --side 336 -o eg1800-packed",
    )
    for name, least, most in (("side", 16, 10_000), ("quality", 1, 100), ("shard_mb", 0.01, 1e6)):
        if not least <= getattr(options, name) <= most:
            raise UserError(f"--{name.replace('_', '-')} is {least:g} to {most:g}. Received: {getattr(options, name)}")
    parts = {split: data.load(options.dataset, options.data_dir, split) for split in _splits(options)}
    with command.whole_folder(options.output) as root:
        size = write(parts, root, options)
        made = f"Packed from {Path(options.data_dir).resolve().name} by `python -m keras_models.data pack`."
        folder.write_source(root, Path(options.data_dir), made)
    count = sum(len(part) for part in parts.values())
    print(f"{options.output}: {count} photos, {size / 1e6:.1f} MB, {size / count / 1e3:.1f} kB each")
    print(f"Next: python -m keras_models.train extremec3 --dataset packed --data-dir {options.output}")
    return 0


def _splits(options: PackOptions) -> tuple[str, ...]:
    found = datasets.splits(options.dataset, options.data_dir)
    if not found:
        raise UserError(f"{options.data_dir} has no split of {options.dataset}.")
    return found


def write(parts: dict[str, data.Dataset], root: Path, options: PackOptions) -> int:
    """Write the files of all splits into the folder `root`; their bytes."""
    first = next(iter(parts.values()))
    shards: list[str] = []
    rows: dict[str, list[dict]] = {}

    def encode(image: np.ndarray, labels: np.ndarray) -> tuple[bytes, bytes]:
        factor = options.side / min(image.shape[:2])
        if factor < 1:
            height, width = (round(side * factor) for side in image.shape[:2])
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            labels = data.prepare_mask(labels, (height, width))
        return _encoded(image, "JPEG", quality=options.quality), _encoded(labels, "PNG", optimize=True)

    for split, part in parts.items():
        rows[split] = []
        pairs = datasets.read_each(part, encode, command.progress(f"packing {part.title}"))
        names = iter(part.names)
        pair = next(pairs, None)
        while pair is not None:
            shards.append(f"{split}-{sum(name.startswith(split) for name in shards):05d}.tar")
            with tarfile.open(root / shards[-1], "w", format=tarfile.USTAR_FORMAT) as tar:
                while pair is not None and tar.offset < options.shard_mb * 1e6:
                    name = next(names)
                    number = len(rows[split])
                    places = [
                        _add(tar, f"{split}-{number:07d}.{kind}", content)
                        for kind, content in zip(("jpg", "png"), pair, strict=True)
                    ]
                    rows[split].append({"name": name, "place": [len(shards) - 1, *places]})
                    pair = next(pairs, None)
    facts = {
        "format": "WebDataset: tar files of NUMBER.jpg and NUMBER.png; place: shard, [start, bytes] of both",
        "side": options.side,
        "class_names": list(first.class_names),
        "colors": first.colors,
        "mirrored": first.mirrored,
        "shares": {split: part.shares for split, part in parts.items()},
        "shards": shards,
        "splits": rows,
    }
    command.write_text(root / "pack.json", json.dumps(facts))
    return sum(path.stat().st_size for path in root.iterdir())


def _encoded(values: np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> list[int]:
    """Add a file; where its content begins, and its size."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    start = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(member, io.BytesIO(content))
    return [start, len(content)]
