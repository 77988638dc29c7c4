"""Train a network: `python -m keras_models.train extremec3`.

With nothing else set it trains on the built-in drawings for a few minutes. NETWORK is a name of `keras_models.names()`,
or `package.module:function` for one of your own. Everything a later command needs goes into a run folder: run.json,
model.keras (the best epoch by the validation split), history.csv, logs, preview.png.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from keras_models import command, data
from keras_models.command import UserError, option
from keras_models.data.datasets import splits
from keras_models.training.recipes import FLAGS, Recipe, from_json, to_json

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class TrainOptions:
    """The command's flags. `changes` are the numbers of the recipe that flags replace, in every stage that has them."""

    network: str | None = option(None, positional=True, metavar="NETWORK", help="a name, or package.module:function")
    dataset: str | None = option(
        None, metavar="KIND", help="kind of dataset (default: folder with --data-dir, else drawings)"
    )
    data_dir: str | None = option(None, metavar="DIR", help="the dataset's folder")
    cache_gb: float | None = option(
        None, least=0, help="photos kept in memory, others are read again (default: a quarter of it)"
    )
    recipe: str | None = option(None, help="paper, code, pocket, tune, drawings, ... (default: tune with --weights)")
    output: str | None = option(None, metavar="DIR", help="the run folder (default: runs/NETWORK-TIME)")
    resume: str | None = option(
        None,
        metavar="RUN",
        help="go on with this run folder exactly where it stopped; --data-dir and --epochs may differ",
    )
    seed: int = option(0, least=0, most=2**31 - 1, help="order, augmentation and initial weights follow from it")
    weights: str | None = option(None, metavar="MODEL", help="start from a preset, run folder or .keras file")
    precision: str = option("float32", choices=PRECISIONS, help="what the training computes in; weights stay float32")
    augment_on: str = option(
        "host", choices=("host", "device"), help="where photos are altered; device keeps them in a GPU's memory"
    )
    distribute: bool = option(False, help="share each batch among all devices, and processes (JAX: Keras' variables)")
    print_recipe: bool = option(False, help="print the recipe with its numbers and stop")
    changes: dict = field(default_factory=dict)


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        TrainOptions,
        argv,
        program="python -m keras_models.train",
        description=__doc__,
        example="python -m keras_models.train extremec3 --dataset eg1800 --data-dir eg1800 --recipe pocket",
        more=FLAGS,
    )
    command.load_keras()
    if options.resume:
        return resume(options)
    options = dataclasses.replace(options, dataset=data.kind_of(options.dataset, options.data_dir))
    recipe = choose_recipe(options)
    if options.print_recipe:
        print(json.dumps(to_json(recipe), indent=2))
        return 0
    name = options.network.rpartition(":")[2]
    return train(options, recipe, Path(options.output or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"))


def choose_recipe(options: TrainOptions) -> Recipe:
    """The recipe that the options name, with the numbers that they replace. UserError for what does not fit."""
    recipes = _network(options.network).recipes
    fitting = "tune" if options.weights else "drawings" if options.dataset == "drawings" else "paper"
    chosen = options.recipe or fitting
    if options.recipe is None and chosen not in recipes:
        chosen = next(iter(recipes))
    if chosen not in recipes:
        raise UserError(f"{options.network} has no recipe {chosen!r}. Valid names: {', '.join(recipes)}.")
    changes = dict(options.changes)
    if "teacher" in changes and Path(changes["teacher"]).exists():
        changes["teacher"] = str(Path(changes["teacher"]).resolve())  # found again from anywhere
    return recipes[chosen].changed(changes)


def train(options: TrainOptions, recipe: Recipe, folder: Path) -> int:
    """Train by `recipe` into the new run folder `folder`."""
    import keras

    from keras_models.training import loop, runs
    from keras_models.training.spread import ALONE, begin

    row = _network(options.network)
    if row.task != "segmentation":
        raise UserError(
            f"{row.name} classifies whole photos; this command trains segmentation. Its recipe is data only: see "
            f"--print-recipe. Train {row.name.removesuffix('_imagenet')} instead."
        )
    training, validation = _load(options)
    spread = begin() if options.distribute else ALONE
    keras.utils.set_random_seed(options.seed)
    plan = dataclasses.replace(_plan(options, recipe, training, validation), spread=spread)
    _begin_with_weights(options, plan)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. --output must name a folder.")
    with runs.locked(folder) if spread.rank == 0 else contextlib.nullcontext():
        if spread.rank == 0:
            runs.require_empty(folder)
        return _run(loop.run, plan, options, folder)


def resume(options: TrainOptions) -> int:
    """Go on with the run folder `options.resume`, from its last finished epoch."""
    import keras

    from keras_models.training import loop, runs
    from keras_models.training.spread import ALONE, begin

    folder = Path(options.resume)
    allowed = {"resume", "data_dir", "print_recipe", "changes"}
    others = [f for f in dataclasses.fields(options) if f.name not in allowed and getattr(options, f.name) != f.default]
    others += [FLAGS[name][0] for name in options.changes if name != "epochs"]
    if others:
        given = ", ".join("NETWORK" if f.name == "network" else command.flag_of(f) for f in others)
        raise UserError(f"--resume takes everything but --data-dir and --epochs from the run folder; omit {given}.")
    run = runs.read_run(folder)
    try:
        recipe = from_json(Recipe, run["recipe"])
        recipe.stages[0]  # there is one
        began = TrainOptions(**{name: _tuple(value) for name, value in run["options"].items()})
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{folder}/run.json is of another version, or damaged ({error!r}). Begin anew.") from error
    began = dataclasses.replace(began, resume=str(folder), data_dir=options.data_dir or began.data_dir)
    recipe = recipe.changed(options.changes)
    if options.print_recipe:
        print(json.dumps(to_json(recipe), indent=2))
        return 0
    training, validation = _load(began)
    runs.require_same_photos(run, training, validation)
    spread = begin() if began.distribute else ALONE
    with runs.locked(folder) if spread.rank == 0 else contextlib.nullcontext():
        state = runs.read_checkpoint(folder)
        if state and state["epoch"] > recipe.stages[state["stage"] - 1].epochs and "epochs" in options.changes:
            raise UserError(f"{folder} has finished {state['epoch']} epochs of stage {state['stage']} already.")
        runs.say_what_changed(run)
        _say_whether_the_recipe_changed(began, run)
        began = dataclasses.replace(began, changes=began.changes | options.changes)
        keras.utils.set_random_seed(began.seed)
        plan = dataclasses.replace(_plan(began, recipe, training, validation), spread=spread)
        if state is None:  # stopped before its first epoch had ended
            _begin_with_weights(began, plan)
        if spread.rank:
            return _run(loop.run, plan, began, folder)
        changed = {"options": plan.facts["options"], "recipe": to_json(recipe)}
        command.write_text(folder / "run.json", json.dumps(run | changed, indent=1))
        return _run(loop.run, plan, began, folder)


def _network(name: str | None):
    from keras_models import registry

    try:
        if name is None:
            raise ValueError(f"Which network? Valid names: {', '.join(registry.names())}.")
        return registry.network(name)
    except ValueError as error:
        raise UserError(str(error)) from error


def _load(options: TrainOptions) -> tuple[data.Dataset, data.Dataset]:
    training = data.load(options.dataset, options.data_dir, "train")
    validation = data.load(options.dataset, options.data_dir, "val")
    if options.dataset == "drawings":
        print("Training on the built-in drawings: no data was given. They show the road; they are no photos of people.")
    if len(training.class_names) > 2:
        print(f"{len(training.class_names)} classes: {', '.join(training.class_names)}")
    if training.note:
        print(training.note)
    return training, validation


def _plan(options: TrainOptions, recipe: Recipe, training: data.Dataset, validation: data.Dataset):
    """Each stage with its network, built and checked against the data."""
    from keras_models import models
    from keras_models.training import loop

    stages = []
    for stage in recipe.stages:
        row = _network(stage.network or options.network)
        try:
            model = row.build(row.channels(len(loop.class_names(stage, training))), stage.input_size)
        except ValueError as error:
            raise UserError(str(error)) from error
        loop.check_fits(stage, model, training)
        stages.append((stage, model))
    named = options.weights is None or options.weights in models.preset_names()
    places = {  # found again from anywhere
        "data_dir": options.data_dir and str(Path(options.data_dir).resolve()),
        "weights": options.weights if named else str(Path(options.weights).resolve()),
    }
    facts = {"options": dataclasses.asdict(options) | places | {"resume": None}, "recipe": to_json(recipe)}
    limit = None if options.cache_gb is None else int(options.cache_gb * 1e9)
    return loop.Plan(
        tuple(stages),
        training,
        validation,
        facts,
        options.seed,
        options.precision,
        limit,
        augment_on=options.augment_on,
    )


def _begin_with_weights(options: TrainOptions, plan) -> None:
    """Give the first stage's network the weights that --weights names, if any."""
    from keras_models import models

    if options.weights:
        try:
            print(models.transfer(models.load(options.weights), plan.stages[0][1], title=options.weights))
        except ValueError as error:
            raise UserError(str(error)) from error


def _run(run, plan, options: TrainOptions, folder: Path) -> int:
    from keras_models.training import runs

    try:
        run(plan, folder)
    except KeyboardInterrupt:
        print(f"\nStopped; every finished epoch is kept. Go on: python -m keras_models.train --resume {folder}")
        return 130
    if plan.spread.rank:
        return 0
    model = plan.stages[-1][1]
    runs.write_preview(folder, model, plan.validation)
    where = f" --dataset {options.dataset} --data-dir {options.data_dir}" if options.data_dir else ""
    if options.data_dir and "test" not in splits(options.dataset, options.data_dir):
        where += " --split val"
    print(f"\nDone: {folder / 'model.keras'}, with a look at it in {folder / 'preview.png'}. Next:")
    print(f"  python -m keras_models.evaluate {folder}{where}")
    print(f"  python tflite/convert.py {folder} --quantize int8 -o {model.name}.tflite")
    return 0


def _say_whether_the_recipe_changed(began: TrainOptions, run: dict) -> None:
    try:
        now = to_json(choose_recipe(began))
    except UserError:
        now = None
    if now != run["recipe"]:
        print("note: the code's recipe is another than when the run began; the run goes on with its own (run.json)")


def _tuple(value):
    """What JSON made a list of, again a tuple."""
    if isinstance(value, dict):
        return {name: _tuple(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    command.run(main)
