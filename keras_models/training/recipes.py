"""How each network is trained, as data: a recipe is a list of stages, each starting from the best of the one before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keras_models.data.augment import Augmentation


@dataclass(frozen=True)
class Stage:
    """One schedule. Weights pass from stage to stage by layer name, so stages may differ in network and size.

    input_size: height and width; None is the network's own. schedule: `cosine` falls to `final_learning_rate`, `halve`
    halves at each fraction of the stage in `halve_at`. optimizer: `adam` with the L2 decay of the papers' PyTorch code
    (none on depthwise kernels, `norm_decay` of it on normalisation and PReLU), `adamw` (none on either), or `sgd` with
    `momentum` and L2 decay. loss: a name of `keras_models.losses`; boundary_kernel (pixels) and boundary_weight belong
    to `lovasz_boundary`.

    Two more schedules: `poly` falls as (1 - share of the stage) ** `power`; `step` multiplies by `step_factor` after
    every `step_epochs` epochs (or `step_iterations` iterations). iterations: of the whole stage, in the place of
    `epochs` where above 0. class_weights: one number per class; `inverse_log` is 1 / ln(1.10 + frequency), frequencies
    from the training labels. auxiliary_layer: its output is a second prediction, trained with `auxiliary_loss` against
    `auxiliary_target` (`labels`, or `boundary`: the edges of the labels), times `auxiliary_weight`.
    consistency_weight: PortraitNet's loss between the predictions for a photo and for its altered colours, of networks
    with two classes or more.
    edge_class: pixels; the band of that width inside the foreground's boundary becomes a third class.
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
    momentum: float = 0.9
    norm_decay: float = 0.01
    power: float = 0.9
    step_factor: float = 1.0
    step_epochs: int = 0
    step_iterations: int = 0
    iterations: int = 0
    class_weights: str | tuple[float, ...] | None = None
    auxiliary_layer: str = ""
    auxiliary_loss: str = "cross_entropy"
    auxiliary_target: str = "labels"
    auxiliary_weight: float = 0.0
    consistency_weight: float = 0.0
    edge_class: int = 0
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
                _pocket("extremec3", 224, 8, 2.5e-3, 1e-5),
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


def _drawings(network: str, size: int = 112) -> dict[str, Recipe]:
    description = "A few minutes on a CPU, enough for the built-in drawings."
    return {"drawings": Recipe(description, (_pocket(network, size, 5, 1e-2, 1e-4, warmup=1),))}


# -- The portrait networks ---------------------------------------------------------------------------------------------

_SINET = {"learning_rate": 5e-4, "loss": "lovasz_boundary"}
_SINET_1 = Stage("sinet_encoder", epochs=300, batch_size=36, boundary_kernel=5, **_SINET)

for _network in ("extremec3_baseline", "extremec3_reverse"):
    _stage = Stage(_network, epochs=300)
    RECIPES[_network] = {"paper": Recipe("The second stage of ExtremeC3Net's recipe, alone.", (_stage,))}

RECIPES["sinet"] = {
    "paper": Recipe(
        "The authors' two stages: the encoder, then the whole network.",
        (_SINET_1, Stage("sinet", epochs=300, batch_size=24, **_SINET)),
    )
}
RECIPES["sinet_encoder"] = {"paper": Recipe("The first of SINet's two stages.", (_SINET_1,))}

_PORTRAITNET = {
    "epochs": 2000,
    "batch_size": 64,
    "schedule": "step",
    "step_factor": 0.95,
    "step_epochs": 20,
    "weight_decay": 5e-4,
    "loss": "cross_entropy",
}
RECIPES["portraitnet"] = {
    "paper": Recipe(
        "The authors' two auxiliary losses: focal on the boundary head, consistency under changed colours.",
        (
            Stage(
                "portraitnet",
                auxiliary_layer="edge_head",
                auxiliary_loss="focal",
                auxiliary_target="boundary",
                auxiliary_weight=0.1,
                consistency_weight=2.0,
                **_PORTRAITNET,
            ),
        ),
    )
}
for _network in (
    "enet",
    "bisenet",
    "espnet_c",
    "ds_espnet",
    "ds_espnet_half",
    "espnetv2",
    "espnetv2_15",
    "contextnet12",
    "contextnet12_quarter",
    "mobilenetv3",
):
    RECIPES[_network] = {
        "paper": Recipe(
            "PortraitNet's method without its auxiliary losses, with which ExtremeC3Net's paper trains the others.",
            (Stage(_network, **_PORTRAITNET),),
        )
    }

RECIPES["eoam"] = {
    "paper": Recipe(
        "The authors' code; its loss without the bug that ignores the background.",
        (
            Stage(
                "eoam",
                epochs=500,
                batch_size=128,
                learning_rate=1.8e-3,
                schedule="step",
                step_factor=0.96,
                step_iterations=17_400,
                weight_decay=0.0,
                loss="lovasz_boundary",
                edge_class=5,
            ),
        ),
    )
}

# -- The Cityscapes networks -------------------------------------------------------------------------------------------

_STREET = Augmentation(rotation_degrees=0, scale=(0.5, 2.0), probability=0.0, outside=255)  # scale, crop, flip
_C3 = {
    "epochs": 300,
    "halve_at": (150 / 300, 250 / 300),
    "norm_decay": 0.05,
    "loss": "cross_entropy",
    "class_weights": "inverse_log",
    "augmentation": _STREET,
}
_C3_TEXT = "The C3 paper's, with the numbers of the authors' code (the paper has 1e-4 and halves at 150 and 200)"

for _network in ("ccc1", "ccc2"):
    _first = Stage(f"{_network}_encoder", batch_size=24, **_C3)
    _second = Stage(_network, batch_size=16, **_C3)
    RECIPES[_network] = {"paper": Recipe(f"{_C3_TEXT}: the encoder, then the whole network.", (_first, _second))}
    RECIPES[f"{_network}_encoder"] = {"paper": Recipe(f"{_C3_TEXT}: its first stage.", (_first,))}
for _network in (
    "c3netv2",
    "ccc_espnet",
    "ccc_structure_a",
    "ccc_structure_a_deep",
    "ccc_structure_b",
    "ccc_structure_c_linear",
    "ds_espnet_decoder",
    "espnet",
    "espnet_tiny",
):
    RECIPES[_network] = {"paper": Recipe(f"{_C3_TEXT}: its second stage.", (Stage(_network, batch_size=16, **_C3),))}

_ERFNET = {
    "epochs": 150,
    "batch_size": 6,
    "learning_rate": 5e-4,
    "schedule": "poly",
    "weight_decay": 1e-4,
    "loss": "cross_entropy",
    "class_weights": "inverse_log",
    "augmentation": _STREET,
}
_ERFNET_1 = Stage("erfnet_encoder", **_ERFNET)
RECIPES["erfnet_encoder"] = {"paper": Recipe("The first of ERFNet's two stages.", (_ERFNET_1,))}
RECIPES["erfnet"] = {"paper": Recipe("ERFNet's: the encoder, then the whole.", (_ERFNET_1, Stage("erfnet", **_ERFNET)))}
RECIPES["ccc_erfnet"] = {"paper": Recipe("ERFNet's, as the C3 paper has it.", (Stage("ccc_erfnet", **_ERFNET),))}

RECIPES["sinet_cityscapes"] = {
    "paper": Recipe(
        "The authors' code: warm-up over a twentieth, poly 0.98, a quarter of the loss at 1/16 of the resolution.",
        (
            Stage(
                "sinet_cityscapes",
                epochs=1500,
                batch_size=6,
                optimizer="sgd",
                learning_rate=0.045,
                schedule="poly",
                power=0.98,
                warmup_epochs=75,
                loss="cross_entropy",
                auxiliary_layer="level4_classes",
                auxiliary_weight=0.25,
                augmentation=_STREET,
            ),
        ),
    )
}

_DRN = {"optimizer": "sgd", "schedule": "step", "step_factor": 0.1, "weight_decay": 1e-4, "norm_decay": 1.0}
for _name in ("drn_a_34", "drn_a_50", "drn_c_26", "drn_c_42"):
    for _network in (_name, f"ccc_{_name}") if _name != "drn_a_34" else (_name,):
        _stage = Stage(
            _network,
            epochs=250,
            input_size=(896, 896),
            batch_size=16,
            learning_rate=0.01,
            step_epochs=100,
            loss="cross_entropy",
            augmentation=_STREET,
            **_DRN,
        )
        RECIPES[_network] = {"paper": Recipe("The DRN authors' for Cityscapes.", (_stage,))}
for _network in ("ccc_drn_c_28", "ccc_drn_c_44"):
    RECIPES[_network] = {
        "paper": Recipe(
            "The DRN authors' for Cityscapes.", (replace(RECIPES["ccc_drn_c_26"]["paper"].stages[0], network=_network),)
        )
    }
for _network in [f"{name}_imagenet" for name in RECIPES if "drn_" in name]:
    # Classification: the table's data for whoever trains it elsewhere; the train command makes segmenters.
    _stage = Stage(
        _network, epochs=120, batch_size=256, learning_rate=0.1, step_epochs=30, loss="cross_entropy", **_DRN
    )
    RECIPES[_network] = {"imagenet": Recipe("The C3 paper's section 4.2.", (_stage,))}

_CITED = {
    "epochs": 300,
    "batch_size": 8,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "schedule": "poly",
    "weight_decay": 1e-4,
    "norm_decay": 1.0,
    "loss": "cross_entropy",
    "augmentation": _STREET,
}
for _network in ("fcn8s", "segnet", "denseaspp121", "skip_mobilenet", "skip_shufflenet"):
    RECIPES[_network] = {
        "paper": Recipe(
            "A usual one for Cityscapes: the C3 paper cites this network's accuracy.", (Stage(_network, **_CITED),)
        )
    }

# -- The networks for people's parts -----------------------------------------------------------------------------------

_PARTS = Augmentation(rotation_degrees=15, scale=(0.75, 1.25), shift=0.1, probability=0.3)
_LIPNET = {
    "epochs": 3,
    "iterations": 20_000,
    "batch_size": 4,
    "learning_rate": 0.005,
    "schedule": "poly",
    "weight_decay": 0.0,
    "loss": "cross_entropy",
    "class_weights": "inverse_log",
    "augmentation": _PARTS,
}
for _network in ("lipnet", "deeplabv2"):
    RECIPES[_network] = {
        "paper": Recipe(
            "LIP-Net's section 3.1; its class weights are not given, these are ERFNet's.", (Stage(_network, **_LIPNET),)
        )
    }

_DEEPLAB = {
    "epochs": 50,
    "batch_size": 8,
    "optimizer": "sgd",
    "learning_rate": 0.007,
    "schedule": "poly",
    "weight_decay": 4e-5,
    "norm_decay": 1.0,
    "loss": "cross_entropy",
    "augmentation": _PARTS,
}
for _network in (
    "improved_deeplabv3plus",
    "improved_deeplabv3plus_resnet101",
    "improved_deeplabv3plus_original_aspp",
    "improved_deeplabv3plus_without_se",
    "deeplabv3plus",
    "deeplabv3plus_resnet101",
    "unet",
):
    RECIPES[_network] = {
        "paper": Recipe(
            "Cross-entropy as in Improved DeepLabv3+'s section 4.2; the rest, not given there, is DeepLabv3+'s.",
            (Stage(_network, **_DEEPLAB),),
        )
    }

# -- Our own ---------------------------------------------------------------------------------------------------------

_SCENES = Augmentation(
    rotation_degrees=20,
    scale=(0.6, 1.6),
    shift=0.2,
    stretch=0.35,
    saturation=(0.0, 2.0),
    brightness=(0.6, 1.4),
    noise=12,
    paste=0.3,
    gamma=0.8,
    temperature=0.25,
    shadow=0.6,
    jpeg=(30, 95),
    motion_blur=7,
    downscale=0.35,
)


def _scenes(network: str, size: int, epochs: int, rate: float, final: float, warmup: int = 0) -> Stage:
    stage = _pocket(network, size, epochs, rate, final, warmup)
    return replace(stage, batch_size=32, weight_decay=2e-2, augmentation=_SCENES)


for _network in ("pocketnet_s", "pocketnet_m", "pocketnet_l"):
    RECIPES[_network] = {
        "pocket": Recipe(
            "Growing input sizes, AdamW, cosine, people pasted into other photos.",
            (
                _scenes(_network, 96, 30, 4e-3, 2.5e-3, 1),
                _scenes(_network, 128, 40, 2.5e-3, 1e-3),
                _scenes(_network, 160, 14, 1e-3, 4e-4),
                _scenes(_network, 224, 7, 4e-4, 1e-5),
            ),
        )
    }

for _network, _recipes in RECIPES.items():
    if "drawings" not in _recipes and "imagenet" not in _recipes:
        _recipes |= _drawings(_network, 128)
