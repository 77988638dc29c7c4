"""How each network is trained, as data: a recipe is a list of stages, each starting from the best of the one before."""

from __future__ import annotations

from dataclasses import dataclass, field

from keras_models.data.augment import Augmentation


@dataclass(frozen=True)
class Stage:
    """One schedule. Weights pass from stage to stage by layer name, so stages may differ in network and size.

    input_size: height and width; None is the network's own. schedule: `cosine` falls to `final_learning_rate`, `halve`
    halves at each fraction of the stage in `halve_at`. optimizer: `adam` with the L2 decay of the papers' PyTorch code
    (none on depthwise kernels, a hundredth on normalisation and PReLU), or `adamw` (none on either). loss: a name of
    `keras_models.losses`; boundary_kernel (pixels) and boundary_weight belong to `lovasz_boundary`.
    """

    network: str
    epochs: int
    input_size: tuple[int, int] | None = None
    batch_size: int = 60
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "halve"
    halve_at: tuple[float, ...] = (150 / 300, 250 / 300)
    warmup_epochs: int = 0
    final_learning_rate: float = 0.0
    weight_decay: float = 2e-4
    loss: str = "lovasz_boundary"
    boundary_kernel: int = 15
    boundary_weight: float = 0.5
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Recipe:
    """Named stages, with a sentence that says where they come from."""

    description: str
    stages: tuple[Stage, ...]


def recipe_names(network: str) -> list[str]:
    """The recipes of a network, the default first."""
    return list(RECIPES[network])


_MILD = Augmentation(
    rotation_degrees=20, scale=(0.75, 1.5), shift=0.15, stretch=0.3, saturation=(0.5, 1.5), brightness=(0.6, 1.4)
)


def _pocket(network: str, size: int, epochs: int, rate: float, final: float, warmup: int = 0) -> Stage:
    return Stage(
        network=network,
        epochs=epochs,
        input_size=(size, size),
        batch_size=24,
        optimizer="adamw",
        learning_rate=rate,
        schedule="cosine",
        warmup_epochs=warmup,
        final_learning_rate=final,
        weight_decay=1e-2,
        loss="cross_entropy_iou",
        augmentation=_MILD,
    )


RECIPES = {
    "extremec3": {
        "paper": Recipe(
            "The paper's two stages (section 4) with the numbers of the authors' code where the two differ.",
            (
                Stage("extremec3_coarse", epochs=300, boundary_kernel=5),
                Stage("extremec3", epochs=300, boundary_kernel=15),
            ),
        ),
        "pocket": Recipe(
            "For a CPU: growing input sizes, AdamW, cosine, cross-entropy plus soft IoU, milder augmentation.",
            (
                _pocket("extremec3", 112, 70, 1e-2, 4e-3, warmup=2),
                _pocket("extremec3", 160, 20, 5e-3, 2e-3),
                _pocket("extremec3", 224, 20, 2.5e-3, 1e-5),
            ),
        ),
        "drawings": Recipe(
            "A few minutes on a CPU, enough for the built-in drawings.",
            (_pocket("extremec3", 112, 5, 1e-2, 2e-3, warmup=1), _pocket("extremec3", 224, 1, 2e-3, 1e-5)),
        ),
    },
    "extremec3_coarse": {
        "paper": Recipe(
            "The paper's first stage (section 4) with the numbers of the authors' code.",
            (Stage("extremec3_coarse", epochs=300, boundary_kernel=5),),
        ),
        "drawings": Recipe(
            "A few minutes on a CPU, enough for the built-in drawings.",
            (_pocket("extremec3_coarse", 112, 5, 1e-2, 1e-4, warmup=1),),
        ),
    },
}
