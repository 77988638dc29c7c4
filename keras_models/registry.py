"""The one table of networks: `names()` lists them, `build()` makes one, `@register` enters one of your own."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from keras_models.training import methods
from keras_models.training.recipes import Recipe

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Network:
    """What the registry knows of a network without building it.

    `input_size` (height, width) and `classes` are the default ones; `parameters` (trainable) and `macs`
    (multiply-accumulates) hold there, and are None where nobody has counted. Height and width must be multiples of
    `multiple`. `paper` is the paper whose network or comparison it is.

    status: `exact` when every figure that its paper prints is ours to every printed digit, `near` when one is within
    5 % or inferred, `not reproducible` when no reading gives one of them, `own` when nothing was published; `reason`
    says why, in one line. What the papers print is in `keras_models.papers.tables`.
    task: `segmentation`, or `classification` for a network that gives one vector of logits (batch, classes).
    recipes: how it is trained, by name, the default first; every segmenter has `pocket`, `drawings` and `tune`.
    void: the last of the default classes is void, which no label has: data with one class fewer gets it too, as the
    authors trained, and no measure counts it.
    published: how the authors' PyTorch weights become this network's, a function that makes a `pytorch.Published`.
    """

    name: str
    builder: Callable
    parameters: int | None = None
    macs: int | None = None
    input_size: tuple[int, int] = (224, 224)
    classes: int = 2
    multiple: int = 1
    paper: str = ""
    status: str = ""
    reason: str = ""
    task: str = "segmentation"
    recipes: dict[str, Recipe] = field(default_factory=dict)
    void: bool = False
    published: Callable | None = None

    def __post_init__(self):
        recipes = dict(self.recipes)
        if self.task == "segmentation":
            recipes.setdefault("pocket", methods.POCKET)
            recipes.setdefault("drawings", methods.drawings())
            recipes.setdefault("tune", methods.TUNE)
        object.__setattr__(self, "recipes", recipes)
        object.__setattr__(self, "status", self.status or ("exact" if self.paper else "own"))

    def check_input_size(self, input_size: tuple[int, int]) -> None:
        """Raise ValueError when the network's strides do not divide `input_size`."""
        if any(side <= 0 or side % self.multiple for side in input_size):
            height, width = (max(1, round(side / self.multiple)) * self.multiple for side in input_size)
            raise ValueError(
                f"{self.name} needs a height and width that are positive multiples of {self.multiple}; the nearest "
                f"that works is {height}x{width}. Received: input_size={input_size}"
            )

    def channels(self, classes: int) -> int:
        """How many channels of logits it has for data of `classes` classes: one for two where it was published so."""
        if self.classes == 1 and classes == 2:
            return 1
        return self.classes if self.void and classes == self.classes - 1 else classes

    def build(self, classes: int | None = None, input_size: int | tuple[int, int] | None = None) -> keras.Model:
        """The model, with new weights. ValueError for a class count below 1 or a size that does not work."""
        import keras

        classes = self.classes if classes is None else classes
        if classes < 1:
            raise ValueError(f"{self.name} needs at least one class. Received: classes={classes}")
        input_size = self.input_size if input_size is None else input_size
        input_size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        self.check_input_size(input_size)
        image = keras.Input((*input_size, 3), name="image")
        return keras.Model(image, self.builder(image, classes), name=self.name)


_networks: dict[str, Network] = {}


def register(builder: Callable | None = None, /, **facts) -> Callable:
    """Enter a builder `f(image, classes) -> logits` in the table under its own name: `@register` is enough.

    `@register(multiple=8, ...)` gives `Network`'s fields, all of which have defaults. Raises ValueError for a name that
    is taken.
    """

    def enter(builder: Callable) -> Callable:
        name = builder.__name__
        known = _networks.get(name)
        if known and _source(known.builder) != _source(builder):
            raise ValueError(f"Two networks are called {name!r}: {known.builder.__module__} has it already.")
        _networks[name] = Network(name, builder, **facts)
        return builder

    return enter if builder is None else enter(builder)


def _source(builder: Callable) -> tuple:
    """What tells that a builder is the same one, defined again: a notebook's cell, a module imported twice."""
    try:
        return (Path(inspect.getsourcefile(builder) or "").resolve(), builder.__qualname__)
    except TypeError:
        return (builder,)


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
    """The table's row for `name`, or for `package.module:function`; ValueError with the valid names without one."""
    if ":" in name:
        return _network_from_outside(name)
    if name not in _table():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Unknown network.{hint} Valid names: {', '.join(names())}; or package.module:function for one of your "
            f"own. Received: {name!r}"
        )
    return _table()[name]


def from_outside(name: str) -> Callable:
    """What `package.module:name` names; a package may stand in the current folder. ValueError when nothing does."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:  # as `python -m` has it, for the installed command
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{error}. A name is package.module:function.") from error


def _network_from_outside(name: str) -> Network:
    """The function `package.module:function`, as it is registered there or with `Network`'s defaults."""
    try:
        builder = from_outside(name)
    except ValueError as error:
        raise ValueError(f"There is no network {name!r}: {error}") from error
    row = _table().get(builder.__name__)
    row = row if row and row.builder is builder else Network(builder.__name__, builder)
    return dataclasses.replace(row, name=builder.__name__)


def build(
    name: str,
    classes: int | None = None,
    input_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = None,
) -> keras.Model:
    """A functional model: RGB 0-255 of shape (batch, height, width, 3) in, logits (batch, height, width, classes) out.

    `name` is one of `names()`, or `package.module:function`. `classes` and `input_size` (one side, or height and
    width) default to those of `weights`, else to the published ones. With `classes=1` the one logit is the
    foreground's (foreground > 0). `weights` is a preset's name, a run folder or a `.keras` file, of another size or
    with other classes too: what fits is taken, layer by layer, and a line says which layers start anew.
    Raises ValueError for an unknown name, a class count below 1, a size that the strides cannot divide, and weights
    none of which fit.
    """
    row = network(name)
    if weights is None:
        return row.build(classes, input_size)
    from keras_models import models

    source = models.load(weights)
    models.require_segmenter(source, weights)
    classes = source.output_shape[-1] if classes is None else classes
    model = row.build(classes, source.input_shape[1:3] if input_size is None else input_size)
    print(models.transfer(source, model, title=str(weights)))
    return model
