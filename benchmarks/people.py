"""How often does the attribute `people` agree with COCO's own count? `python -m benchmarks.people COCO`.

COCO is a folder with images/, masks/ and images.csv, whose columns `stem`, `persons` and `crowd` have the truth.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from benchmarks import machine
from keras_models import command, data
from keras_models.data import attributes


def main(data_dir: str, most: str = "300") -> None:
    """Count, print and write results/people.json."""
    with (Path(data_dir) / "images.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["stem"]: 3 if int(row["crowd"]) else min(3, int(row["persons"])) for row in csv.DictReader(file)}
    photos = data.load("folder", data_dir, "all")
    photos = photos.subset(np.unique(np.linspace(0, len(photos) - 1, int(most)).astype(int)), photos.title)
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
    main(*sys.argv[1:])
