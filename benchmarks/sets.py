"""The photos that a benchmark measures on, as its flag --sets names them: NAME=DATASET:DIR:SPLIT,..."""

from __future__ import annotations

from keras_models.command import UserError

SET = "NAME=DATASET:DIR:SPLIT"
SETS = f"{SET},..."


def parse_set(text: str) -> tuple[str, str, str, str]:
    """Name, kind of dataset, folder and split of one NAME=DATASET:DIR:SPLIT; UserError for anything else."""
    whole, _, split = text.rpartition(":")
    try:
        return *parse_whole_set(whole), split
    except UserError as error:
        raise UserError(f"A set is {SET}. Received: {text!r}") from error


def parse_whole_set(text: str) -> tuple[str, str, str]:
    """Name, kind of dataset and folder of one NAME=DATASET:DIR; UserError for anything else."""
    name, _, where = text.partition("=")
    kind, _, folder = where.partition(":")
    if not (name and kind and folder):
        raise UserError(f"A set is NAME=DATASET:DIR. Received: {text!r}")
    return name, kind, folder
