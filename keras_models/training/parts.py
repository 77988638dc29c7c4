"""The parts of a recipe's stage: optimizers, schedules and losses, small objects each with its own numbers.

Every number says its range and its meaning here; `recipes.FLAGS` makes flags of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from keras_models import command
from keras_models.command import UserError, option


class Checked:
    """A dataclass of `option`s whose numbers are in their ranges: UserError when one is not."""

    def __post_init__(self):
        command.check(self)


# -- Optimizers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adam(Checked):
    """Adam with the L2 decay of the papers' PyTorch code: none on depthwise kernels."""

    weight_decay: float = option(2e-4, least=0, help="weight decay")
    norm_decay: float = option(0.01, least=0, help="share of the weight decay on normalisation and PReLU")


@dataclass(frozen=True)
class AdamW(Checked):
    """Adam with decoupled weight decay; none on depthwise kernels, normalisation and PReLU."""

    weight_decay: float = option(1e-2, least=0, help="weight decay")


@dataclass(frozen=True)
class Muon(AdamW):
    """AdamW, and Muon for the kernels of dense convolutions: at the same rates it needs fewer steps."""


@dataclass(frozen=True)
class SGD(Checked):
    """Momentum and L2 decay; none on depthwise kernels."""

    momentum: float = option(0.9, least=0, below=1, help="momentum of the optimizer")
    weight_decay: float = option(2e-4, least=0, help="weight decay")
    norm_decay: float = option(0.01, least=0, help="share of the weight decay on normalisation and PReLU")


# -- Schedules: the learning rate, as a share of the highest -----------------------------------------------------------


@dataclass(frozen=True)
class Schedule(Checked):
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
class CrossEntropy(Checked):
    """class_weights: one number per class, background first, or `inverse_log`."""

    class_weights: ClassWeights = None


@dataclass(frozen=True)
class CrossEntropyIoU(Checked):
    """Cross-entropy plus `iou_weight` times the soft IoU loss."""

    iou_weight: float = option(1.0, least=0, help="weight of the soft IoU")
    class_weights: ClassWeights = None


@dataclass(frozen=True)
class Focal(Checked):
    """Cross-entropy times (1 - the true class's probability) ** gamma."""

    gamma: float = option(2.0, least=0, flags=("--focal-gamma",), help="exponent of the focal loss")


@dataclass(frozen=True)
class Lovasz(Checked):
    """The surrogate of 1 - IoU."""


@dataclass(frozen=True)
class LovaszBoundary(Checked):
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


OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "muon": Muon, "sgd": SGD}
SCHEDULES = {"halve": Halve, "cosine": CosineDecay, "poly": PolynomialDecay, "step": StepDecay}
LOSSES = {
    "cross_entropy": CrossEntropy,
    "cross_entropy_iou": CrossEntropyIoU,
    "focal": Focal,
    "lovasz": Lovasz,
    "lovasz_boundary": LovaszBoundary,
    "own": Own,
}
KINDS = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": LOSSES}
NAMES = {kind: name for kinds in KINDS.values() for name, kind in kinds.items()}
