"""The photos that a benchmark measures on, as its flag --sets names them: NAME=DATASET:DIR:SPLIT,..."""

from __future__ import annotations

from keras_models.command import UserError

SETS = "NAME=DATASET:DIR:SPLIT,..."


def parse_set(text: str) -> tuple[str, str, str, str]:
    """Name, kind of dataset, folder and split of one NAME=DATASET:DIR:SPLIT; UserError for anything else."""
    name, _, where = text.partition("=")
    try:
        kind, folder, split = where.split(":")
    except ValueError as error:
        raise UserError(f"--sets takes NAME=DATASET:DIR:SPLIT. Received: {text!r}") from error
    return name, kind, folder, split
