"""How often does the attribute `people` agree with COCO's own count? `python -m benchmarks.people COCO`.

COCO is a folder with images/, masks/ and images.csv, whose columns `stem`, `persons` and `crowd` have the truth.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine
from keras_models import command, data
from keras_models.command import option
from keras_models.data import attributes


@dataclass(frozen=True)
class PeopleOptions:
    """The command's flags."""

    data_dir: str = option(positional=True, metavar="COCO", help="the folder")
    photos: int = option(300, least=1, help="at most so many, spread over the set")


def main(argv: list[str] | None = None) -> None:
    """Count, print and write results/people.json."""
    options = command.parse(
        PeopleOptions,
        argv,
        program="python -m benchmarks.people",
        description=__doc__,
        example="python -m benchmarks.people coco_person --photos 100",
    )
    data_dir = options.data_dir
    with (Path(data_dir) / "images.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["stem"]: 3 if int(row["crowd"]) else min(3, int(row["persons"])) for row in csv.DictReader(file)}
    photos = data.load("folder", data_dir, "all")
    photos = photos.subset(np.unique(np.linspace(0, len(photos) - 1, options.photos).astype(int)), photos.title)
    values = attributes.MEASURED["people"]
    table = np.zeros((3, 3), int)
    for name, found in attributes.measure(photos, command.progress("counting")).items():
        if found[0]:
            table[truth[name] - 1, values.index(found[0]["people"])] += 1
    agreeing = float(np.trace(table) / table.sum())
    print(f"{agreeing:.1%} of {table.sum()} photos agree; a row per true number {values}:\n{table}")
    result = {"photos": int(table.sum()), "agreeing": round(agreeing, 4), "true_by_counted": table.tolist()}
    machine.write("people", {"protocol": "photos spread over the set; true 1, 2, 3 or more by counted", **result})


if __name__ == "__main__":
    command.run(main)
