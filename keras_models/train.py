"""Train a network: `python -m keras_models.train extremec3`.

With nothing else set it trains on the built-in drawings for a few minutes. Everything a later command needs goes into a
run folder: run.json, model.keras (the best epoch by the validation split), history.csv, logs, preview.png.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_models import build, command, data, losses, models, names, pictures, registry
from keras_models.command import UserError, option
from keras_models.data import pipeline
from keras_models.data.augment import Augmentation
from keras_models.data.datasets import splits
from keras_models.training import runs
from keras_models.training.recipes import RECIPES, Recipe, Stage, recipe_names
from keras_models.training.stages import compiled, inverse_log_weights


@dataclass(frozen=True)
class TrainOptions:
    """The command's flags. None leaves a number as the recipe has it; a number replaces it in every stage."""

    network: str | None = option(None, positional=True, metavar="NETWORK", help="a name of keras_models.names()")
    dataset: str = option("drawings", metavar="KIND", help="which kind of dataset --data-dir holds")
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    cache_gb: float | None = option(
        None, help="photos kept in memory, others are read again (default: a quarter of it)"
    )
    recipe: str | None = option(None, help="paper, pocket or drawings (default: drawings for the drawings, else paper)")
    output: str | None = option(None, metavar="DIR", help="the run folder (default: runs/NETWORK-TIME)")
    resume: str | None = option(None, metavar="RUN", help="go on with this run folder exactly where it stopped")
    seed: int = option(0, help="order, augmentation and initial weights follow from it")
    weights: str | None = option(None, metavar="MODEL", help="start from a preset, run folder or .keras file")
    print_recipe: bool = option(False, help="print the recipe with its numbers and stop")
    epochs: int | None = option(None, help="epochs of each stage")
    batch_size: int | None = option(None, help="photos per step")
    input_size: tuple[int, ...] | None = option(
        None, metavar="SIDE | HEIGHT,WIDTH", help="the networks' input, in pixels"
    )
    optimizer: str | None = option(None, choices=("adam", "adamw", "sgd"), help="optimizer")
    learning_rate: float | None = option(None, help="highest learning rate")
    schedule: str | None = option(None, choices=("halve", "cosine", "poly", "step"), help="how the learning rate falls")
    halve_at: tuple[float, ...] | None = option(None, help="fractions of a stage at which `halve` halves")
    warmup_epochs: int | None = option(None, help="epochs of linear warm-up (cosine, poly)")
    final_learning_rate: float | None = option(None, help="learning rate at the end (cosine)")
    weight_decay: float | None = option(None, help="weight decay")
    loss: str | None = option(None, choices=tuple(losses.LOSSES), help="loss")
    boundary_kernel: int | None = option(None, help="side of the filter that makes the boundary band, in pixels")
    boundary_weight: float | None = option(None, help="weight of the boundary's loss")
    rotation_degrees: float | None = option(None, help="augmentation: largest rotation")
    scale: tuple[float, ...] | None = option(None, help="augmentation: smallest and largest scale, as 0.5,1.5")
    shift: float | None = option(None, help="augmentation: largest shift, as a fraction of the input's side")
    stretch: float | None = option(None, help="augmentation: largest change of the aspect ratio")
    noise: float | None = option(None, help="augmentation: largest standard deviation of the noise, in grey values")


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        TrainOptions,
        argv,
        program="python -m keras_models.train",
        description=__doc__,
        example="python -m keras_models.train extremec3 --dataset eg1800 --data-dir eg1800 --recipe pocket",
    )
    if options.resume:
        folder = Path(options.resume)
        if options.network or options.output:
            raise UserError("--resume takes everything from the run folder; leave NETWORK and --output away.")
        options, recipe = _read_run(folder)
    else:
        recipe = choose_recipe(options)
        folder = Path(options.output or f"runs/{options.network}-{time.strftime('%Y%m%d-%H%M%S')}")
    if options.print_recipe:
        print(json.dumps(dataclasses.asdict(recipe), indent=2))
        return 0
    return train(options, recipe, folder)


def choose_recipe(options: TrainOptions) -> Recipe:
    """The recipe that the options name, with the numbers that they replace. UserError for what does not fit."""
    if options.network not in names():
        raise UserError(f"Unknown network. Valid names: {', '.join(names())}. Received: {options.network!r}")
    chosen = options.recipe or ("drawings" if options.dataset == "drawings" else "paper")
    if options.recipe is None and chosen not in recipe_names(options.network):
        chosen = recipe_names(options.network)[0]
    if chosen not in recipe_names(options.network):
        valid = ", ".join(recipe_names(options.network))
        raise UserError(f"{options.network} has no recipe {chosen!r}. Valid names: {valid}.")
    recipe = RECIPES[options.network][chosen]
    changed = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Stage)}
    changed = {name: value for name, value in changed.items() if value is not None and name != "network"}
    if "input_size" in changed:
        if len(options.input_size) > 2:
            raise UserError(f"--input-size takes one number or HEIGHT,WIDTH. Received: {options.input_size}")
        changed["input_size"] = (options.input_size * 2)[:2]
    if "epochs" in changed:
        changed["iterations"] = 0
    for name in ("epochs", "batch_size", "input_size", "learning_rate"):
        if name in changed and np.min(changed[name]) <= 0:
            raise UserError(f"--{name.replace('_', '-')} must be above 0. Received: {getattr(options, name)}")
    moved = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Augmentation)}
    moved = {name: value for name, value in moved.items() if value is not None}
    stages = [
        dataclasses.replace(stage, **changed, augmentation=dataclasses.replace(stage.augmentation, **moved))
        for stage in recipe.stages
    ]
    return dataclasses.replace(recipe, stages=tuple(stages))


def train(options: TrainOptions, recipe: Recipe, folder: Path) -> int:
    """Run the stages of `recipe` into the run folder `folder`, from its last checkpoint if it has one."""
    if registry.network(options.network).task != "segmentation":
        raise UserError(
            f"{options.network} classifies whole photos; this command trains segmentation. Its recipe is data only: "
            f"see --print-recipe. Train {options.network.removesuffix('_imagenet')} instead."
        )
    keras.utils.set_random_seed(options.seed)
    state = runs.read_checkpoint(folder) if options.resume else None
    if state is None and folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty. Choose another --output, or go on with it: --resume {folder}")
    weights = _weights_by_layer(models.load(options.weights)) if options.weights else {}
    training = data.load(options.dataset, options.data_dir, "train")
    validation = data.load(options.dataset, options.data_dir, "val")
    if options.dataset == "drawings":
        print("No dataset given: training on the built-in drawings. They show the road; they are no photos of people.")
    if len(training.class_names) > 2:
        print(f"{len(training.class_names)} classes: {', '.join(training.class_names)}")
    stages = [_prepare(stage, training) for stage in recipe.stages]
    largest = tuple(max(model.input_shape[axis] for _, model in stages) for axis in (1, 2))
    if training.note:
        print(training.note)
    samples = pipeline.cache(
        training,
        largest,
        command.progress(f"reading {training.title}"),
        zoom=max(stage.augmentation.zoom for stage, _ in stages),
        limit=None if options.cache_gb is None else int(options.cache_gb * 1e9),
    )
    if not options.resume:
        runs.write_run(folder, options, recipe, training, validation, _classes(stages[-1][0], training))

    for number, (stage, model) in enumerate(stages, start=1):
        if state is not None and number < state["stage"]:
            continue
        _set_weights(model, weights)
        try:
            _run_stage(number, len(stages), stage, model, samples, validation, options.seed, folder, state)
        except KeyboardInterrupt:
            print(f"\nStopped; every finished epoch is kept. Go on: python -m keras_models.train --resume {folder}")
            return 130
        weights, state = _weights_by_layer(model), None
    runs.write_preview(folder, model, validation)
    where = f" --dataset {options.dataset} --data-dir {options.data_dir}" if options.data_dir else ""
    if options.data_dir and "test" not in splits(options.dataset, options.data_dir):
        where += " --split val"
    print(f"\nDone: {folder / 'model.keras'}, with a look at it in {folder / 'preview.png'}. Next:")
    print(f"  python -m keras_models.evaluate {folder}{where}")
    print(f"  python tflite/convert.py {folder} --quantize int8 -o {model.name}.tflite")
    return 0


def _run_stage(number, count, stage, model, samples, validation, seed, folder, state) -> None:
    """Train `model` through one stage and leave it with its best weights."""
    batch_size = min(stage.batch_size, len(samples))
    steps = len(samples) // batch_size
    stage = dataclasses.replace(stage, epochs=-(-stage.iterations // steps) if stage.iterations else stage.epochs)
    if isinstance(stage.class_weights, str):
        stage = dataclasses.replace(
            stage, class_weights=inverse_log_weights(samples.label_counts[: len(validation.class_names)])
        )
    sizes = {"input_size": model.input_shape[1:3], "label_size": model.output_shape[1:3]}
    height, width = sizes["input_size"]
    print(f"stage {number} of {count}: {stage.network} at {height}x{width}, {stage.epochs} epochs", flush=True)
    fitted = compiled(model, stage, steps)
    batches = pipeline.training_batches(
        samples,
        batch_size=batch_size,
        augmentation=dataclasses.replace(stage.augmentation, mirrored=validation.mirrored),
        seed=seed * 1000 + number,
        first_epoch=0 if state is None else int(state["epoch"]),
        pairs=stage.consistency_weight > 0,
        edge_class=stage.edge_class,
        heads=len(fitted.outputs),
        **sizes,
    )
    classes, validation = len(validation.class_names), pipeline.evaluation_batches(validation, batch_size=16, **sizes)
    checkpoint = runs.Checkpoint(folder, number, stage.epochs, model, validation, classes)
    first_epoch = 0 if state is None else checkpoint.restore(state, fitted)
    if first_epoch < stage.epochs:
        fitted.fit(
            batches,
            initial_epoch=first_epoch,
            epochs=stage.epochs,
            steps_per_epoch=steps,
            callbacks=[checkpoint],
            shuffle=False,
            verbose=1 if sys.stdout.isatty() else 0,
        )
    model.set_weights(checkpoint.best_weights)


def _prepare(stage: Stage, training: data.Dataset) -> tuple[Stage, keras.Model]:
    row = registry.network(stage.network)
    if stage.edge_class and len(training.class_names) != 2:
        raise UserError(
            f"{stage.network}'s recipe makes an edge class of the foreground; {training.title} has several."
        )
    classes = len(_classes(stage, training)["names"])
    if row.classes == 1 and classes == 2:
        classes = 1
    try:
        return stage, build(stage.network, classes=classes, input_size=stage.input_size)
    except ValueError as error:
        raise UserError(str(error)) from error


def _classes(stage: Stage, training: data.Dataset) -> dict:
    """Names and RGB colours of what a network learns: the data's classes, and the edge where the stage makes one."""
    names = [*training.class_names, *(["edge"] if stage.edge_class else [])]
    return {"names": names, "colors": pictures.class_colors(training)[: len(names)].tolist()}


def _weights_by_layer(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def _set_weights(model: keras.Model, weights: dict[str, list[np.ndarray]]) -> None:
    """Give `model` the weights of the layers whose name and shapes agree; the others keep their own."""
    for layer in model.layers:
        values = weights.get(layer.name, [])
        if values and [w.shape for w in layer.weights] == [v.shape for v in values]:
            layer.set_weights(values)


def _read_run(folder: Path) -> tuple[TrainOptions, Recipe]:
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        stages = tuple(_stage(values) for values in run["recipe"]["stages"])
        options = TrainOptions(**{name: _tuple(value) for name, value in run["options"].items()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is no run folder that can be resumed: {error}") from error
    return dataclasses.replace(options, resume=str(folder)), Recipe(run["recipe"]["description"], stages)


def _stage(values: dict) -> Stage:
    values = {name: _tuple(value) for name, value in values.items()}
    augmentation = Augmentation(**{name: _tuple(value) for name, value in values.pop("augmentation").items()})
    return Stage(**values, augmentation=augmentation)


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    command.run(main)
