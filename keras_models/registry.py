"""The one table of networks: `names()` lists them, `build()` makes one."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import keras


@dataclass(frozen=True)
class Network:
    """What the registry knows of a network without building it.

    `parameters` (trainable) and `macs` (multiply-accumulates) hold at the default `input_size` (height, width) and
    `classes`; height and width must be multiples of `multiple`. `paper` is the paper whose network or comparison it is.

    status: `exact` when the parameters are the published ones to every printed digit, `near` when this is the nearest
    faithful reading, `not reproducible` when no reading gives the published figures; `reason` says why, in one line.
    task: `segmentation`, or `classification` for a network that gives one vector of logits (batch, classes).
    What the papers print is in `keras_models.tables`.
    """

    name: str
    builder: Callable
    parameters: int
    macs: int
    input_size: tuple[int, int]
    classes: int
    multiple: int
    paper: str
    status: str = "exact"
    reason: str = ""
    task: str = "segmentation"

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Raise ValueError when the network's strides do not divide `input_size`."""
        if any(side <= 0 or side % self.multiple for side in input_size):
            height, width = (max(1, round(side / self.multiple)) * self.multiple for side in input_size)
            raise ValueError(
                f"{self.name} needs a height and width that are positive multiples of {self.multiple}; the nearest "
                f"that works is {height}x{width}. Received: input_size={input_size}"
            )


_networks: dict[str, Network] = {}


def register(**facts) -> Callable[[Callable], Callable]:
    """Enter a builder `f(image, classes) -> logits` in the table under its own name; `facts` are `Network`'s fields."""

    def enter(builder: Callable) -> Callable:
        name = builder.__name__
        if name in _networks:
            raise ValueError(f"Two networks are called {name!r}: {_networks[name].builder.__module__} has it already.")
        _networks[name] = Network(name, builder, **facts)
        return builder

    return enter


@cache
def _table() -> dict[str, Network]:
    package = importlib.import_module("keras_models.networks")
    for module in pkgutil.iter_modules([str(Path(package.__file__).parent)]):
        importlib.import_module(f"keras_models.networks.{module.name}")
    return _networks


def names() -> list[str]:
    """The names that `build` accepts, sorted."""
    return sorted(_table())


def network(name: str) -> Network:
    """The table's row for `name`; ValueError with the valid names when there is none."""
    if name not in _table():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"Unknown network.{hint} Valid names: {', '.join(names())}. Received: {name!r}")
    return _table()[name]


def build(
    name: str,
    classes: int | None = None,
    input_size: tuple[int, int] | None = None,
    weights: str | Path | None = None,
) -> keras.Model:
    """A functional model: RGB 0-255 of shape (batch, height, width, 3) in, logits (batch, height, width, classes) out.

    `classes` and `input_size` (height, width) default to the published ones. With `classes=1` the one logit is the
    foreground's (foreground > 0). `weights` is a preset's name, a run folder or a `.keras` file.
    Raises ValueError for an unknown name, a class count below 1 or a size that the strides cannot divide.
    """
    row = network(name)
    if weights is not None:
        from keras_models import models

        model = models.load(weights)
        wanted = (classes or model.output_shape[-1], *(input_size or model.input_shape[1:3]))
        if model.name != name or wanted != (model.output_shape[-1], *model.input_shape[1:3]):
            raise ValueError(
                f"{weights} holds {model.name} with {model.output_shape[-1]} class(es) at "
                f"{model.input_shape[1]}x{model.input_shape[2]}. "
                f"Received: name={name!r}, classes={classes}, input_size={input_size}"
            )
        return model
    classes = row.classes if classes is None else classes
    if classes < 1:
        raise ValueError(f"{name} needs at least one class. Received: classes={classes}")
    input_size = row.input_size if input_size is None else tuple(input_size)
    row.check_input_size(input_size)
    image = keras.Input((*input_size, 3), name="image")
    return keras.Model(image, row.builder(image, classes), name=name)
