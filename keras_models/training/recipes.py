"""How a network is trained, as data: a recipe is stages, each starting from the best weights of the one before.

Losses, schedules and optimizers are small objects, each with its own numbers, so that a number that would do nothing
cannot be written. Every number says its range and its meaning where it is defined; `FLAGS` makes flags of them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field

from keras_models import command
from keras_models.command import UserError, option
from keras_models.data.augment import Augmentation
from keras_models.training.parts import (
    KINDS,
    NAMES,
    SGD,
    Adam,
    AdamW,
    Auxiliary,
    Checked,
    CosineDecay,
    CrossEntropy,
    CrossEntropyIoU,
    Focal,
    Halve,
    Lovasz,
    LovaszBoundary,
    Muon,
    Own,
    PolynomialDecay,
    StepDecay,
)

# -- Stages and recipes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage(Checked):
    """One schedule. Weights pass from stage to stage by layer name, so stages may differ in network and size.

    network: None is the network that the recipe belongs to. iterations: of the whole stage, in the place of `epochs`
    where above 0. input_size: height and width; None is the network's own. consistency_weight: PortraitNet's loss
    between the predictions for a photo and for its altered colours, of networks with two classes or more. edge_class:
    pixels; the band of that width inside the foreground's boundary becomes a third class. ema: the momentum of a moving
    average of the weights, which is then what is validated and saved; 0 is none. clip_norm: the largest norm of all
    gradients together; 0 is no limit. teacher: a preset, run folder, `.keras` or `.tflite` file whose predictions for
    the same pixels, void ones too, are learned beside the labels: `teacher_weight` is their share of the loss.
    """

    epochs: int = option(60, least=1, help="epochs of each stage")
    network: str | None = None
    iterations: int = 0
    input_size: tuple[int, ...] | None = option(
        None, least=1, most=8192, metavar="SIDE | HEIGHT,WIDTH", help="the networks' input, in pixels"
    )
    batch_size: int = option(60, least=1, help="photos per step")
    learning_rate: float = option(1e-3, above=0, help="highest learning rate")
    optimizer: Adam | AdamW | Muon | SGD = field(default_factory=Adam)
    schedule: Halve | CosineDecay | PolynomialDecay | StepDecay = field(default_factory=Halve)
    loss: CrossEntropy | CrossEntropyIoU | Focal | Lovasz | LovaszBoundary | Own = field(default_factory=LovaszBoundary)
    auxiliary: Auxiliary | None = None
    consistency_weight: float = 0.0
    edge_class: int = 0
    ema: float = option(0.0, least=0, below=1, help="momentum of the moving average of the weights; 0 is none")
    clip_norm: float = option(0.0, least=0, help="largest norm of all gradients together; 0 is no limit")
    teacher: str | None = option(None, metavar="MODEL", help="learn from this model's predictions too")
    teacher_weight: float = option(0.5, above=0, most=1, help="their share of the loss; the labels have the rest")
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self):
        super().__post_init__()
        if not self.iterations and self.schedule.warmup_epochs >= self.epochs:
            raise UserError(
                f"A warm-up of {self.schedule.warmup_epochs} epochs does not fit into {self.epochs}. Give a lower "
                "--warmup-epochs, or more --epochs."
            )

    @property
    def title(self) -> str:
        """What it is trained by, in a few words: `adamw, cosine, cross_entropy`."""
        weighted = " with class weights" if getattr(self.loss, "class_weights", None) else ""
        return ", ".join(NAMES[type(part)] for part in (self.optimizer, self.schedule, self.loss)) + weighted

    def lasting(self, epochs: int) -> Stage:
        """The stage with another number of epochs, of which the warm-up keeps its share."""
        warmup = self.schedule.warmup_epochs * epochs // self.epochs
        schedule = dataclasses.replace(self.schedule, warmup_epochs=warmup)
        return dataclasses.replace(self, epochs=epochs, iterations=0, schedule=schedule)


@dataclass(frozen=True)
class Recipe:
    """Named stages, with a sentence that says where they come from."""

    description: str
    stages: tuple[Stage, ...]

    def changed(self, changes: dict) -> Recipe:
        """The recipe with other numbers in every stage that has them: `changes` by the names of `FLAGS`.

        UserError for a number that no stage has, and for one out of its range.
        """
        stages = tuple(_changed(stage, changes) for stage in self.stages)
        for name in changes:
            if name not in KINDS and not any(_owners(stage, name) for stage in stages):
                has = {NAMES[type(getattr(stage, kind))]: None for stage in stages for kind in KINDS}
                raise UserError(
                    f"{command.flag_of(FLAGS[name][0])} is a number of {' and '.join(_holders(name))}; this recipe has "
                    f"{', '.join(has)}."
                )
        return dataclasses.replace(self, stages=stages)


_PARTS = ("optimizer", "schedule", "loss", "augmentation")


def _changed(stage: Stage, changes: dict) -> Stage:
    for kind, kinds in KINDS.items():
        chosen = changes.get(kind)
        if chosen is None or chosen == NAMES[type(getattr(stage, kind))]:
            continue
        if kind == "loss" and ":" in chosen:
            made = Own(chosen)
        elif chosen not in kinds or chosen == "own":
            more = ", or package.module:function" if kind == "loss" else ""
            raise UserError(f"--{kind} is {', '.join(n for n in kinds if n != 'own')}{more}. Received: {chosen!r}")
        else:
            made = kinds[chosen](**({"warmup_epochs": stage.schedule.warmup_epochs} if kind == "schedule" else {}))
        stage = dataclasses.replace(stage, **{kind: made})
    if "warmup_epochs" in changes:  # before the epochs, into which it must fit
        schedule = dataclasses.replace(stage.schedule, warmup_epochs=0)
        stage = dataclasses.replace(stage, schedule=schedule)
    if "epochs" in changes:
        stage = stage.lasting(changes["epochs"])
    for name, value in changes.items():
        for part, attribute in _owners(stage, name):
            if name == "input_size":
                value = sides(value)
            if part is None:
                stage = stage if name == "epochs" else dataclasses.replace(stage, **{attribute: value})
            else:
                stage = dataclasses.replace(
                    stage, **{part: dataclasses.replace(getattr(stage, part), **{attribute: value})}
                )
    return stage


def sides(size: tuple[int, ...]) -> tuple[int, int]:
    """Height and width as --input-size names them, by one number or by two; UserError for more."""
    if len(size) > 2:
        raise UserError(f"--input-size takes one number or HEIGHT,WIDTH. Received: {size}")
    return (*size, *size)[:2]


def _owners(stage: Stage, name: str) -> list[tuple[str | None, str]]:
    """(None or a part of the stage, the name of its field) for the number that the flag `name` is of."""
    parts = [(None, stage), *((part, getattr(stage, part)) for part in _PARTS)]
    return [
        (part, each.name)
        for part, owner in parts
        for each in dataclasses.fields(owner)
        if each.name not in _PARTS and _flag_name(each) == name
    ]


def _holders(name: str) -> list[str]:
    return [NAMES[kind] for kind in NAMES if any(_flag_name(f) == name for f in dataclasses.fields(kind))]


def _flag_name(each: dataclasses.Field) -> str | None:
    return command.flag_of(each)[2:].replace("-", "_") if "help" in each.metadata else None


def _flags() -> dict[str, tuple[dataclasses.Field, object]]:
    flags = {}
    for part, kinds in KINDS.items():
        names = ", ".join(name for name in kinds if name != "own")
        names += ", or package.module:function" if part == "loss" else ""
        (choice,) = dataclasses.fields(_choice(part, names))
        flags[part] = choice, str
    for kind in (Stage, *NAMES, Augmentation):
        hints = typing.get_type_hints(kind)
        for each in dataclasses.fields(kind):
            if name := _flag_name(each):
                flags.setdefault(name, (each, hints[each.name]))
    return flags


def _choice(part: str, names: str) -> type:
    return dataclasses.make_dataclass(part, [(part, str, option(None, help=f"another {part}: {names}"))])


FLAGS = _flags()  # name -> (field, type): the numbers of a recipe that flags replace

# -- As JSON -----------------------------------------------------------------------------------------------------------


def to_json(value):
    """A recipe, or a part of it, of dictionaries, lists and numbers; `from_json` reads it back."""
    if dataclasses.is_dataclass(value):
        kind = {"kind": NAMES[type(value)]} if type(value) in NAMES else {}
        return kind | {each.name: to_json(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return [to_json(each) for each in value] if isinstance(value, (tuple, list)) else value


def from_json(kind: type, values):
    """The dataclass `kind` that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    if isinstance(values, list):
        inner = next(iter(typing.get_args(kind)), object)
        return tuple(from_json(inner, value) for value in values)
    if not isinstance(values, dict):
        return values
    if isinstance(kind, types.UnionType):
        kinds = {NAMES.get(each): each for each in typing.get_args(kind) if each is not type(None)}
        values = dict(values)
        kind = kinds[values.pop("kind", None)]
    hints = typing.get_type_hints(kind)
    return kind(**{name: from_json(hints[name], value) for name, value in values.items()})
