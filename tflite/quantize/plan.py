"""What fine-tuning is to do, what it trains on, and what says which of its epochs is best."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from keras_models import metrics
from keras_models.command import UserError
from keras_models.data.augment import Augmentation
from tflite.quantize.bridge import Technique


@dataclass(frozen=True)
class Plan:
    """What to do to a network: the sparsity (0-1), the number of clusters, int8 (quantization-aware), and how long.

    `epochs` are those of each stage, `learning_rate` the first of a cosine that falls to 0; int8's stage has a fifth.
    """

    sparsity: float | None
    clusters: int | None
    int8: bool
    epochs: int
    learning_rate: float
    batch_size: int

    def __post_init__(self):
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise UserError(f"--prune is the share of weights to make zero, between 0 and 1. Received: {self.sparsity}")
        least = 3 if self.sparsity else 2  # zero is one of them
        if self.clusters is not None and not least <= self.clusters <= 256:
            also = " with --prune, whose zeros are one of them" if self.sparsity else ""
            raise UserError(
                f"--cluster is a number of distinct weights, {least} to 256{also}. Received: {self.clusters}"
            )
        for name in ("epochs", "learning_rate", "batch_size"):
            if getattr(self, name) <= 0:
                raise UserError(f"--{name.replace('_', '-')} must be above 0. Received: {getattr(self, name)}")

    def stages(self) -> list[tuple[str, Technique]]:
        """What to train, in order, with names for people."""
        keep = {"keep_zeros": self.sparsity is not None, "keep_clusters": self.clusters is not None}
        stages = []
        if self.sparsity:
            stages.append((f"pruning to {self.sparsity:.0%} zeros", Technique(sparsity=self.sparsity)))
        if self.clusters:
            clustering = Technique(clusters=self.clusters, keep_zeros=keep["keep_zeros"])
            stages.append((f"clustering to {self.clusters} weights", clustering))
        if self.int8:
            stages.append(("quantization-aware training", Technique(int8=True, **keep)))
        return stages


@dataclass(frozen=True)
class Material:
    """(image, labels) to train on; validation batches; for int8 the calibration inputs, as the converter gets them.

    classes: of the dataset. augmentation, edge_class: as in `recipes.Stage`.
    """

    samples: list
    validation: object
    calibration: np.ndarray | None
    classes: int
    input_size: tuple[int, int]
    label_size: tuple[int, int]
    augmentation: Augmentation = field(default_factory=Augmentation)
    edge_class: int = 0


def iou(classes: int) -> metrics.ForegroundIoU | metrics.MeanIoU:
    """The metric that says which epoch is best: the foreground IoU, with more than two classes the mean IoU."""
    return metrics.ForegroundIoU() if classes == 2 else metrics.MeanIoU(classes)


def iou_name(classes: int) -> str:
    """What `iou` measures."""
    return "foreground IoU" if classes == 2 else "mean IoU"
