"""Training methods that several networks share, each named after where it comes from; recipes are made of them."""

from __future__ import annotations

import dataclasses

from keras_models.data.augment import Augmentation
from keras_models.training.recipes import (
    SGD,
    Adam,
    AdamW,
    CosineDecay,
    CrossEntropy,
    CrossEntropyIoU,
    Halve,
    PolynomialDecay,
    Recipe,
    Stage,
    StepDecay,
)

# -- Ours, for a CPU ---------------------------------------------------------------------------------------------------

MILD = Augmentation(
    rotation_degrees=20, scale=(0.75, 1.5), shift=0.15, stretch=0.3, saturation=(0.5, 1.5), brightness=(0.6, 1.4)
)


def pocket(
    size: int | None, epochs: int, rate: float, final: float, warmup: int = 0, network: str | None = None
) -> Stage:
    """AdamW, cosine, cross-entropy plus soft IoU, mild augmentation."""
    return Stage(
        network=network,
        epochs=epochs,
        input_size=size and (size, size),
        batch_size=24,
        learning_rate=rate,
        optimizer=AdamW(weight_decay=1e-2),
        schedule=CosineDecay(warmup_epochs=warmup, final=final),
        loss=CrossEntropyIoU(),
        augmentation=MILD,
    )


def growing(*sizes: tuple[int, int], pasted: float = 0.0, **others) -> tuple[Stage, ...]:
    """Stages of growing input sizes and falling rates: `sizes` are three pairs of a side and the epochs at it.

    pasted: the probability that people of other photos are pasted in. `others` changes every stage.
    """
    schedules = (1e-2, 4e-3, 2), (5e-3, 2e-3, 0), (2.5e-3, 1e-5, 0)  # highest and last rate, epochs of warm-up
    augmentation = dataclasses.replace(MILD, paste=pasted)
    return tuple(
        dataclasses.replace(pocket(size, epochs, *schedule), augmentation=augmentation, **others)
        for (size, epochs), schedule in zip(sizes, schedules, strict=True)
    )


def drawings(*stages: Stage) -> Recipe:
    """A recipe for the built-in drawings."""
    stages = stages or (pocket(128, 5, 1e-2, 1e-4, warmup=1),)
    return Recipe("A few minutes on a CPU, enough for the built-in drawings.", stages)


POCKET = Recipe(
    "For any network: AdamW, cosine, cross-entropy plus soft IoU, mild augmentation.",
    (pocket(None, 60, 5e-3, 1e-5, warmup=2),),
)


def mixed(**others) -> Recipe:
    """For a mix of datasets, from new weights; `others` changes every stage."""
    return Recipe(
        "Ours, for a mix of some six thousand photos: growing input sizes, people pasted in.",
        growing((128, 20), (160, 5), (224, 5), pasted=0.2, clip_norm=1.0, **others),
    )


def streets(half: tuple[int, int], whole: tuple[int, int]) -> dict[str, Recipe]:
    """For some four hundred street photos: most epochs at `half`, as (height, width), the last at `whole`."""
    stages = (
        dataclasses.replace(
            pocket(None, epochs, rate, final, warmup),
            input_size=size,
            batch_size=8,
            loss=CrossEntropyIoU(class_weights="inverse_log"),
            ema=0.99,
            clip_norm=1.0,
            augmentation=dataclasses.replace(MILD, rotation_degrees=5, scale=(0.75, 2.0)),
        )
        for size, epochs, rate, final, warmup in ((half, 40, 5e-3, 1e-3, 2), (whole, 6, 1e-3, 1e-5, 0))
    )
    return {"streets": Recipe("Ours, for some four hundred street photos on a CPU: growing sizes.", tuple(stages))}


STREETS = streets((184, 240), (360, 480))


TUNE = Recipe(
    "From trained weights, for any network: its own size, low learning rates, averaged weights.",
    (dataclasses.replace(pocket(None, 20, 5e-4, 1e-5, warmup=1), batch_size=16, ema=0.99, clip_norm=1.0),),
)

# -- The papers' -------------------------------------------------------------------------------------------------------

PORTRAITNET = Stage(
    epochs=2000,
    batch_size=64,
    optimizer=Adam(weight_decay=5e-4),
    schedule=StepDecay(factor=0.95, epochs=20),
    loss=CrossEntropy(),
)
AS_PORTRAITNET = {
    "paper": Recipe(
        "PortraitNet's method without its auxiliary losses, as ExtremeC3Net's section 4.1 trains ENet and BiSeNet.",
        (PORTRAITNET,),
    ),
    "mixed": mixed(),
}
IN_COMPARISON = {
    "paper": Recipe(
        "The comparison gives it no recipe: ExtremeC3Net's numbers (section 4) in one stage, by cross-entropy.",
        (Stage(epochs=600, batch_size=60, optimizer=Adam(weight_decay=5e-4), loss=CrossEntropy()),),
    ),
    "mixed": mixed(),
}

STREET = Augmentation(rotation_degrees=0, scale=(0.5, 2.0), probability=0.0, outside=255)  # scale, crop, flip
C3 = Stage(
    epochs=300,
    batch_size=16,
    learning_rate=1e-4,
    optimizer=Adam(norm_decay=0.05),
    schedule=Halve(at=(150 / 300, 200 / 300)),
    loss=CrossEntropy(class_weights="inverse_log"),
    augmentation=STREET,
)
AS_C3 = {
    "paper": Recipe(
        "As printed (section 4.1), for tables 2 and 3 alike; batch and class weights are the code's.",
        (C3,),
    )
}
C3_CODE = dataclasses.replace(C3, learning_rate=1e-3, schedule=Halve(at=(150 / 300, 250 / 300)))

ERFNET = Stage(
    epochs=150,
    batch_size=6,
    learning_rate=5e-4,
    optimizer=Adam(weight_decay=1e-4),
    schedule=PolynomialDecay(),
    loss=CrossEntropy(class_weights="inverse_log"),
    augmentation=STREET,
)

CITED = {
    "paper": Recipe(
        "A usual one for Cityscapes: the C3 paper cites this network's accuracy.",
        (
            Stage(
                epochs=300,
                batch_size=8,
                learning_rate=0.01,
                optimizer=SGD(weight_decay=1e-4, norm_decay=1.0),
                schedule=PolynomialDecay(),
                loss=CrossEntropy(),
                augmentation=STREET,
            ),
        ),
    )
}

_DRN = {"optimizer": SGD(weight_decay=1e-4, norm_decay=1.0), "loss": CrossEntropy()}
DRN = {
    "paper": Recipe(
        "The DRN authors' for Cityscapes.",
        (
            Stage(
                epochs=250,
                input_size=(896, 896),
                batch_size=16,
                learning_rate=0.01,
                schedule=StepDecay(factor=0.1, epochs=100),
                augmentation=STREET,
                **_DRN,
            ),
        ),
    )
}
# Classification: the table's data for whoever trains it elsewhere; the train command makes segmenters.
IMAGENET = {
    "imagenet": Recipe(
        "The C3 paper's section 4.2.",
        (Stage(epochs=120, batch_size=256, learning_rate=0.1, schedule=StepDecay(factor=0.1, epochs=30), **_DRN),),
    )
}

_PARTS = Augmentation(rotation_degrees=15, scale=(0.75, 1.25), shift=0.1, probability=0.3)


def _upright(height: int, width: int, epochs: int, rate: float, final: float, warmup: int = 0) -> Stage:
    stage = pocket(None, epochs, rate, final, warmup)
    return dataclasses.replace(stage, input_size=(height, width), batch_size=8, clip_norm=1.0)


SHORT_PARTS = {
    "short": Recipe(
        "Ours, for body parts on a CPU: growing sizes, AdamW, cosine, cross-entropy plus soft IoU.",
        (_upright(96, 64, 8, 3e-3, 1e-3, warmup=1), _upright(144, 96, 4, 1e-3, 1e-5)),
    )
}
LIPNET = {
    "paper": Recipe(
        "LIP-Net's section 3.1; its class weights are not given, these are ERFNet's.",
        (
            Stage(
                epochs=3,
                iterations=20_000,
                batch_size=4,
                learning_rate=0.005,
                optimizer=Adam(weight_decay=0.0),
                schedule=PolynomialDecay(),
                loss=CrossEntropy(class_weights="inverse_log"),
                augmentation=_PARTS,
            ),
        ),
    )
} | SHORT_PARTS
DEEPLAB = {
    "paper": Recipe(
        "Cross-entropy as in Improved DeepLabv3+'s section 4.2; the rest, not given there, is DeepLabv3+'s.",
        (
            Stage(
                epochs=50,
                batch_size=8,
                learning_rate=0.007,
                optimizer=SGD(weight_decay=4e-5, norm_decay=1.0),
                schedule=PolynomialDecay(),
                loss=CrossEntropy(),
                augmentation=_PARTS,
            ),
        ),
    )
} | SHORT_PARTS


def after(first: str, stage: Stage, **others) -> tuple[Stage, Stage]:
    """`stage` for the network `first`, with `others` changed, and then for the recipe's own."""
    return dataclasses.replace(stage, network=first, **others), stage
