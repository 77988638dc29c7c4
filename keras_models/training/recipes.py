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


class _Checked:
    def __post_init__(self):
        command.check(self)


# -- Optimizers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adam(_Checked):
    """Adam with the L2 decay of the papers' PyTorch code: none on depthwise kernels."""

    weight_decay: float = option(2e-4, least=0, help="weight decay")
    norm_decay: float = option(0.01, least=0, help="share of the weight decay on normalisation and PReLU")


@dataclass(frozen=True)
class AdamW(_Checked):
    """Adam with decoupled weight decay; none on depthwise kernels, normalisation and PReLU."""

    weight_decay: float = option(1e-2, least=0, help="weight decay")


@dataclass(frozen=True)
class SGD(_Checked):
    """Momentum and L2 decay; none on depthwise kernels."""

    momentum: float = option(0.9, least=0, below=1, help="momentum of the optimizer")
    weight_decay: float = option(2e-4, least=0, help="weight decay")
    norm_decay: float = option(0.01, least=0, help="share of the weight decay on normalisation and PReLU")


# -- Schedules: the learning rate, as a share of the highest -----------------------------------------------------------


@dataclass(frozen=True)
class Schedule(_Checked):
    """Every schedule may rise linearly over its first epochs."""

    warmup_epochs: int = option(0, least=0, help="epochs of linear warm-up", kw_only=True)


@dataclass(frozen=True)
class Halve(Schedule):
    """Halves at each fraction of the stage."""

    at: tuple[float, ...] = option(
        (150 / 300, 250 / 300), above=0, below=1, flags=("--halve-at",), help="fractions of a stage at which it halves"
    )

    def __post_init__(self):
        super().__post_init__()
        if list(self.at) != sorted(set(self.at)):
            raise UserError(f"--halve-at takes fractions in rising order. Received: {self.at}")


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Falls along a half cosine to the rate `final`."""

    final: float = option(0.0, least=0, flags=("--final-learning-rate",), help="learning rate at the end")


@dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """Falls as (1 - share of the stage) ** power."""

    power: float = option(0.9, above=0, help="power of the polynomial decay")


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplies by `factor` after every `epochs` epochs, or after every `iterations` steps where that is above 0."""

    factor: float = option(0.5, above=0, most=1, flags=("--step-factor",), help="what a step multiplies by")
    epochs: int = option(10, least=1, flags=("--step-epochs",), help="epochs from step to step")
    iterations: int = option(0, least=0, flags=("--step-iterations",), help="iterations from step to step")


# -- Losses: each is the class of the same name in `keras_models.losses` -----------------------------------------------

ClassWeights = str | tuple[float, ...] | None  # `inverse_log`: 1 / ln(1.10 + frequency in the training labels)


@dataclass(frozen=True)
class CrossEntropy(_Checked):
    """class_weights: one number per class, background first, or `inverse_log`."""

    class_weights: ClassWeights = None


@dataclass(frozen=True)
class CrossEntropyIoU(_Checked):
    """Cross-entropy plus `iou_weight` times the soft IoU loss."""

    iou_weight: float = option(1.0, least=0, help="weight of the soft IoU")
    class_weights: ClassWeights = None


@dataclass(frozen=True)
class Focal(_Checked):
    """Cross-entropy times (1 - the true class's probability) ** gamma."""

    gamma: float = option(2.0, least=0, flags=("--focal-gamma",), help="exponent of the focal loss")


@dataclass(frozen=True)
class Lovasz(_Checked):
    """The surrogate of 1 - IoU."""


@dataclass(frozen=True)
class LovaszBoundary(_Checked):
    """Lovász, plus `weight` times the same over a band along the boundaries."""

    kernel: int = option(
        15, least=1, flags=("--boundary-kernel",), help="side of the filter that makes the boundary band, in pixels"
    )
    weight: float = option(0.5, least=0, flags=("--boundary-weight",), help="weight of the boundary's loss")

    def __post_init__(self):
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise UserError(f"--boundary-kernel must be odd. Received: {self.kernel}")


@dataclass(frozen=True)
class Own:
    """A loss of one's own: `function` is `package.module:name` of a function of (y_true, y_pred) or a Loss class."""

    function: str


@dataclass(frozen=True)
class Auxiliary:
    """A second prediction, the output of `layer`, trained with `loss` times `weight` against `target`.

    target: `labels`, or `boundary` for the edges of the labels.
    """

    layer: str
    weight: float
    loss: CrossEntropy | CrossEntropyIoU | Focal | Lovasz | LovaszBoundary | Own = CrossEntropy()
    target: str = "labels"


OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
SCHEDULES = {"halve": Halve, "cosine": CosineDecay, "poly": PolynomialDecay, "step": StepDecay}
LOSSES = {
    "cross_entropy": CrossEntropy,
    "cross_entropy_iou": CrossEntropyIoU,
    "focal": Focal,
    "lovasz": Lovasz,
    "lovasz_boundary": LovaszBoundary,
    "own": Own,
}
_KINDS = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": LOSSES}
_NAMES = {kind: name for kinds in _KINDS.values() for name, kind in kinds.items()}

# -- Stages and recipes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage(_Checked):
    """One schedule. Weights pass from stage to stage by layer name, so stages may differ in network and size.

    network: None is the network that the recipe belongs to. iterations: of the whole stage, in the place of `epochs`
    where above 0. input_size: height and width; None is the network's own. consistency_weight: PortraitNet's loss
    between the predictions for a photo and for its altered colours, of networks with two classes or more. edge_class:
    pixels; the band of that width inside the foreground's boundary becomes a third class. ema: the momentum of a moving
    average of the weights, which is then what is validated and saved; 0 is none. clip_norm: the largest norm of all
    gradients together; 0 is no limit. teacher: a preset, run folder or `.keras` file whose predictions for the same
    pixels, void ones too, are learned beside the labels: `teacher_weight` is their share of the loss.
    """

    epochs: int = option(60, least=1, help="epochs of each stage")
    network: str | None = None
    iterations: int = 0
    input_size: tuple[int, ...] | None = option(
        None, least=1, most=8192, metavar="SIDE | HEIGHT,WIDTH", help="the networks' input, in pixels"
    )
    batch_size: int = option(60, least=1, help="photos per step")
    learning_rate: float = option(1e-3, above=0, help="highest learning rate")
    optimizer: Adam | AdamW | SGD = Adam()
    schedule: Halve | CosineDecay | PolynomialDecay | StepDecay = Halve()
    loss: CrossEntropy | CrossEntropyIoU | Focal | Lovasz | LovaszBoundary | Own = LovaszBoundary()
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
        return ", ".join(_NAMES[type(part)] for part in (self.optimizer, self.schedule, self.loss)) + weighted

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
            if name not in _KINDS and not any(_owners(stage, name) for stage in stages):
                has = {_NAMES[type(getattr(stage, kind))]: None for stage in stages for kind in _KINDS}
                raise UserError(
                    f"{command.flag_of(FLAGS[name][0])} is a number of {' and '.join(_holders(name))}; this recipe has "
                    f"{', '.join(has)}."
                )
        return dataclasses.replace(self, stages=stages)


_PARTS = ("optimizer", "schedule", "loss", "augmentation")


def _changed(stage: Stage, changes: dict) -> Stage:
    for kind, kinds in _KINDS.items():
        chosen = changes.get(kind)
        if chosen is None or chosen == _NAMES[type(getattr(stage, kind))]:
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
                value = _pair(value)
            if part is None:
                stage = stage if name == "epochs" else dataclasses.replace(stage, **{attribute: value})
            else:
                stage = dataclasses.replace(
                    stage, **{part: dataclasses.replace(getattr(stage, part), **{attribute: value})}
                )
    return stage


def _pair(size: tuple[int, ...]) -> tuple[int, int]:
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
    return [_NAMES[kind] for kind in _NAMES if any(_flag_name(f) == name for f in dataclasses.fields(kind))]


def _flag_name(each: dataclasses.Field) -> str | None:
    return command.flag_of(each)[2:].replace("-", "_") if "help" in each.metadata else None


def _flags() -> dict[str, tuple[dataclasses.Field, object]]:
    flags = {}
    for part, kinds in _KINDS.items():
        names = ", ".join(name for name in kinds if name != "own")
        names += ", or package.module:function" if part == "loss" else ""
        (choice,) = dataclasses.fields(_choice(part, names))
        flags[part] = choice, str
    for kind in (Stage, *_NAMES, Augmentation):
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
        kind = {"kind": _NAMES[type(value)]} if type(value) in _NAMES else {}
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
        kinds = {_NAMES.get(each): each for each in typing.get_args(kind) if each is not type(None)}
        values = dict(values)
        kind = kinds[values.pop("kind", None)]
    hints = typing.get_type_hints(kind)
    return kind(**{name: from_json(hints[name], value) for name, value in values.items()})
