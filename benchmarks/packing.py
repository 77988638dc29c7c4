"""How fast is a packed set read? `python -m benchmarks.packing DIR`.

The training photos of a dataset are read from its folder, packed and read again, and asked of a cache that holds them
all, three times in turn in one run; decoded each time, as training does for what its cache has no room for.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine
from keras_models import command, data
from keras_models.command import option
from keras_models.data import pack, pipeline
from keras_models.data.datasets import read_each

MOST, ROUNDS, SIDE = 1000, 3, 256


@dataclass(frozen=True)
class PackingOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="DIR", help="the dataset's folder")
    dataset: str = option("folder", metavar="KIND", help="kind of dataset")


def main(argv: list[str] | None = None) -> None:
    """Measure, print and write results/packing.json."""
    options = command.parse(
        PackingOptions,
        argv,
        program="python -m benchmarks.packing",
        description=__doc__,
        example="python -m benchmarks.packing eg1800 --dataset eg1800",
    )
    plain = data.load(options.dataset, options.data_dir, "train")
    plain = plain.subset(range(min(MOST, len(plain))), plain.title)
    with tempfile.TemporaryDirectory() as folder:
        packed_dir = Path(folder)
        size = pack.write({"train": plain}, packed_dir, pack.PackOptions(options.data_dir, folder, side=SIDE))
        packed = data.load("packed", packed_dir, "train")
        cache = pipeline.cache(packed, (SIDE, SIDE), zoom=1.0, limit=10**10)
        ways = {
            "folder": lambda: sum(1 for _ in read_each(plain, lambda image, labels: image.shape)),
            "packed": lambda: sum(1 for _ in read_each(packed, lambda image, labels: image.shape)),
            "cache": lambda: sum(1 for i in range(len(cache)) if cache[i][0].any()),
        }
        rates = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                started = time.perf_counter()
                rates[name].append(way() / (time.perf_counter() - started))
    found = {name: round(float(np.median(rate))) for name, rate in rates.items()}
    kilobytes = size / len(plain) / 1e3
    print(f"images/s: {found}; {kilobytes:.1f} kB each, {2400 * kilobytes / 1e3:.0f} MB for 2,400")
    machine.write(
        "packing",
        {
            "protocol": f"{len(plain)} photos of {plain.title}, packed at a shorter side of {SIDE}; median of {ROUNDS}",
            "images_per_second": found,
            "kilobytes_per_photo": round(kilobytes, 1),
            "megabytes_of_2400": round(2.4 * kilobytes, 1),
        },
    )


if __name__ == "__main__":
    command.run(main)
