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


def facts(sets: dict) -> dict[str, dict]:
    """What a result keeps of the datasets that it was measured on, by their names."""
    return {name: {"data": dataset.title, "images": len(dataset)} for name, dataset in sets.items()}


def in_words(sets: dict[str, dict]) -> str:
    """The same `facts`, for the text under a table."""
    return ", ".join(f"{name}: {found['images']} photos of {found['data']}" for name, found in sets.items())
