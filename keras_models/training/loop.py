"""The one training loop: stages one after the other, validated, saved and resumable epoch by epoch."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_models import command, data, metrics, models, pictures, registry
from keras_models.command import UserError
from keras_models.data import on_device, pipeline
from keras_models.training import faster, runs, spread
from keras_models.training.recipes import Recipe, Stage, to_json
from keras_models.training.stages import averaged_weights, compiled, loss_of, teacher_of, with_class_weights


@dataclass(frozen=True)
class Plan:
    """What is trained on what: each stage with its network (float32), and the run's own facts for run.json."""

    stages: tuple[tuple[Stage, keras.Model], ...]
    training: data.Dataset
    validation: data.Dataset
    facts: dict
    seed: int = 0
    precision: str = "float32"
    cache_bytes: int | None = None
    spread: spread.Spread = spread.ALONE
    augment_on: str = "host"

    def __post_init__(self):
        for stage, network in self.stages:
            if self.augment_on == "device" and (stage.consistency_weight or stage.edge_class):
                raise UserError(f"{network.name}'s recipe alters photos as only --augment-on host does.")
        if self.augment_on == "device" and self.spread is not spread.ALONE:
            raise UserError("--augment-on device keeps the photos on one device. Omit --distribute.")

    @property
    def classes(self) -> dict:
        """Names and RGB colours of the data's classes, of the edge where the last stage makes one, and of void."""
        stage, model = self.stages[-1]
        names = class_names(stage, self.training)
        names += ["void"] if model.output_shape[-1] > len(names) else []
        return {"names": names, "colors": pictures.class_colors(self.training)[: len(names)].tolist()}


def fit(
    model: keras.Model,
    train: data.Dataset,
    val: data.Dataset,
    recipe: str | Recipe | None = None,
    output: str | Path | None = None,
    *,
    seed: int = 0,
    precision: str = "float32",
    **changes,
) -> list[dict]:
    """Train `model` as the command does, into the run folder `output` (default: runs/NAME-TIME).

    `train`, `val`: see `keras_models.data.load` and `keras_models.data.register`. `recipe`: the name of one of the
    network's, or of one for any network (`pocket`, `drawings`), or a `Recipe`; `changes` replace its numbers, by the
    names of the command's flags (`epochs=10`). The model keeps its own size in every stage, and has the best weights in
    the end. Returns the history, a dictionary per epoch. Raises UserError, a ValueError, for what does not fit.
    """
    folder = Path(output or f"runs/{model.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    recipe = find_recipe(model.name, recipe).changed(changes)
    stages = tuple(
        (dataclasses.replace(stage, network=model.name, input_size=tuple(model.input_shape[1:3])), model)
        for stage in recipe.stages
        if stage.network in (None, model.name)
    )
    facts = {"options": {"network": model.name, "seed": seed}, "recipe": to_json(Recipe(recipe.description, stages=()))}
    facts["recipe"]["stages"] = [to_json(stage) for stage, _ in stages]
    for stage, network in stages:
        check_fits(stage, network, train)
    keras.utils.set_random_seed(seed)
    with runs.locked(folder):
        runs.require_empty(folder)
        return run(Plan(stages, train, val, facts, seed, precision), folder)


def find_recipe(network: str, recipe: str | Recipe | None) -> Recipe:
    """A network's recipe by its name, or its first one; UserError with the valid names."""
    if isinstance(recipe, Recipe):
        return recipe
    row = registry.network(network) if network in registry.names() or ":" in network else None
    recipes = (row or registry.Network(network, None)).recipes
    recipe = recipe or next(iter(recipes))
    if recipe not in recipes:
        raise UserError(f"{network} has no recipe {recipe!r}. Valid names: {', '.join(recipes)}.")
    return recipes[recipe]


def class_names(stage: Stage, training: data.Dataset) -> list[str]:
    """The data's classes, and the edge where the stage makes one."""
    return [*training.class_names, *(["edge"] if stage.edge_class else [])]


def check_fits(stage: Stage, model: keras.Model, training: data.Dataset) -> None:
    """UserError when `model` cannot learn the classes of `training`, or the stage's numbers do not fit them."""
    if stage.edge_class and len(training.class_names) != 2:
        raise UserError(
            f"{model.name}'s recipe makes an edge class of the foreground; {training.title} has several classes."
        )
    classes, channels = len(class_names(stage, training)), model.output_shape[-1]
    fitting = {classes, 1 if classes == 2 else classes}
    if model.name in registry.names():
        fitting.add(registry.network(model.name).channels(classes))
    if channels not in fitting:
        raise UserError(
            f"{model.name} gives {channels} channel(s) of logits, {training.title} has {classes} classes: "
            f"{', '.join(class_names(stage, training)[:6])}."
        )
    loss_of(with_class_weights(stage, np.ones(256, np.int64), max(classes, channels)).loss)  # says what does not fit
    if stage.teacher:
        teacher_of(stage, model, class_names(stage, training))


def run(plan: Plan, folder: Path) -> list[dict]:
    """Train through the stages of `plan` in the folder, which is locked; from its last checkpoint if it has one.

    The last stage's network has the best weights in the end. Returns the rows of the history.
    """
    for dataset in (plan.training, plan.validation):
        data.require_foreground(dataset)
    if plan.spread.rank == 0:
        if note := data.inverted_note(plan.training):
            print(note)
        runs.sweep(folder)
    state = runs.read_checkpoint(folder)
    if state and plan.spread.rank == 0:
        runs.write_history(folder, state["history"])
    sizes = [model.input_shape[1:3] for _, model in plan.stages]
    largest = tuple(max(size[axis] for size in sizes) for axis in (0, 1))
    zoom = max(stage.augmentation.zoom for stage, _ in plan.stages)
    samples = pipeline.cache(
        plan.training, largest, command.progress(f"reading {plan.training.title}"), zoom=zoom, limit=plan.cache_bytes
    )
    if plan.spread.rank == 0 and not (folder / "run.json").is_file():
        runs.write_run(folder, plan.facts, plan.training, plan.validation, plan.classes)

    history, before = [], None
    for number, (_, network) in enumerate(plan.stages, start=1):
        if state is not None and number < state["stage"]:
            continue
        if before is not None and before is not network:
            print(models.transfer(before, network))
        history = _run_stage(plan, number, samples, folder, state, history)
        before, state = network, None
    return history


def _run_stage(plan: Plan, number: int, samples, folder: Path, state: dict | None, history: list[dict]) -> list[dict]:
    """Train through one stage and leave its network with its best weights; returns the history with its rows."""
    stage, network = plan.stages[number - 1]
    batch_size = min(stage.batch_size, len(samples))
    steps = len(samples) // batch_size
    if stage.iterations:
        stage = dataclasses.replace(stage, epochs=-(-stage.iterations // steps), iterations=0)
    classes = len(plan.validation.class_names)
    stage = with_class_weights(stage, samples.label_counts, max(classes, network.output_shape[-1]))
    sizes = {"input_size": network.input_shape[1:3], "label_size": network.output_shape[1:3]}
    height, width = sizes["input_size"]
    print(
        f"stage {number} of {len(plan.stages)}: {network.name} at {height}x{width}, {stage.epochs} epochs of {steps} "
        f"batches of {batch_size}: {stage.title}",
        flush=True,
    )
    if batch_size % plan.spread.devices:
        raise UserError(f"--batch-size {batch_size} cannot be divided among {plan.spread.devices} devices.")
    # Dropout's seeds follow from the stage, not from what was drawn before it: a resumed run draws the same.
    keras.utils.set_random_seed(int(np.random.SeedSequence((plan.seed, number)).generate_state(1)[0]))
    with plan.spread.building():
        trained = models.copy(network, plan.precision, kinds=faster.kinds())
        fitted = compiled(trained, stage, steps, plan.precision)
    end = EndOfEpoch(folder, number, stage.epochs, network, trained, classes, history)
    end.spread = plan.spread
    end.validation = pipeline.evaluation_batches(plan.validation, batch_size=16, limit=plan.cache_bytes, **sizes)
    first_epoch = 0 if state is None else end.restore(state, fitted)
    options = {
        "batch_size": batch_size,
        "augmentation": dataclasses.replace(stage.augmentation, mirrored=plan.training.mirrored),
        "seed": plan.seed * 1000 + number,
        "first_epoch": first_epoch,
        "heads": len(fitted.outputs),
        "teacher": teacher_of(stage, network, class_names(stage, plan.training)) if stage.teacher else None,
    }
    if plan.augment_on == "device":
        batches = on_device.training_batches(samples, **options, **sizes)
    else:
        batches = pipeline.training_batches(
            samples,
            pairs=stage.consistency_weight > 0,
            edge_class=stage.edge_class,
            share=(plan.spread.rank, plan.spread.processes),
            **options,
            **sizes,
        )
    if first_epoch < stage.epochs:
        try:
            with plan.spread.fitting():
                fitted.fit(
                    batches,
                    initial_epoch=first_epoch,
                    epochs=stage.epochs,
                    steps_per_epoch=steps,
                    callbacks=[end],
                    shuffle=False,
                    verbose=1 if sys.stdout.isatty() else 0,
                )
        except Exception as error:
            if samples.failure is None:
                raise
            raise UserError(
                f"{samples.failure}\nEvery finished epoch is kept. With the photos in place again, go on: "
                f"python -m keras_models.train --resume {folder}"
            ) from error
    network.set_weights(end.best_weights)
    return end.rows


class EndOfEpoch(keras.callbacks.Callback):
    """Validates after each epoch, keeps the best weights, and writes all that an exact continuation needs.

    `network` is what is validated and saved: it gets the weights of `trained`, or their moving average. The best epoch
    is that of the highest foreground IoU, with more than two classes of the highest mean IoU. `rows`: the history.
    """

    def __init__(self, folder, stage: int, epochs: int, network, trained, classes: int, rows: list[dict]):
        super().__init__()
        self.folder, self.stage, self.epochs, self.classes = folder, stage, epochs, classes
        self.network, self.trained = network, trained
        self.best, self.best_weights = -1.0, network.get_weights()
        self.rows = rows
        self.validation, self.spread = None, spread.ALONE

    def restore(self, state: dict, fitted: keras.Model) -> int:
        """Take over weights, seeds, the fitted model's optimizer and the best; returns the epoch to go on with."""
        fitted.optimizer.build(fitted.trainable_variables)
        try:
            _assign(self.trained.variables, state["model"])
            _assign(fitted.optimizer.variables, state["optimizer"])
            self.best_weights = state["best_model"]
            self.network.set_weights(self.best_weights)
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{self.folder / 'checkpoint.npz'} does not fit the network and optimizer that run.json and the code "
                f"make ({error}). Go on with the versions that it began with, or begin anew."
            ) from error
        self.best, self.rows = state["best"], state["history"]
        return state["epoch"]

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise UserError(
                f"The loss is {logs['loss']} at step {batch + 1}: training has diverged. The last finished epoch is "
                f"kept in {self.folder}. Start again with a lower --learning-rate, or with --warmup-epochs."
            )

    def on_epoch_end(self, epoch, logs=None):
        with self.spread.alone():
            self._end_epoch(epoch, logs)

    def _end_epoch(self, epoch, logs):
        optimizer = self.model.optimizer
        self.network.set_weights(averaged_weights(self.trained, optimizer))
        ious = validate(self.network, self.validation, self.classes)
        kind = "foreground" if self.classes == 2 else "mean"
        if ious[kind] > self.best:
            self.best, self.best_weights = ious[kind], self.network.get_weights()
            if self.spread.rank == 0:
                runs.require_run(self.folder)
                runs.save_model(self.network, self.folder / "model.keras")
        row = {
            "stage": self.stage,
            "epoch": epoch + 1,
            "loss": float(logs["loss"]),
            "val_foreground_iou": ious["foreground"],
            "val_mean_iou": ious["mean"],
            "learning_rate": float(keras.ops.convert_to_numpy(optimizer.learning_rate)),
            "seconds": time.monotonic() - self.started,
        }
        self.rows = [*self.rows, row]
        if self.spread.rank:  # the first process writes for all
            return
        arrays = {
            "model": [keras.ops.convert_to_numpy(variable) for variable in self.trained.variables],
            "best_model": self.best_weights,
            "optimizer": [keras.ops.convert_to_numpy(variable) for variable in optimizer.variables],
        }
        facts = {"stage": self.stage, "epoch": epoch + 1, "best": self.best}
        runs.write_checkpoint(self.folder, facts, self.rows, arrays)
        runs.write_log(self.folder, row)
        left = np.median([row["seconds"] for row in self.rows if row["stage"] == self.stage]) * (
            self.epochs - epoch - 1
        )
        print(
            f"epoch {epoch + 1}/{self.epochs}  loss {row['loss']:.4f}  val {kind} IoU {ious[kind]:.4f}  "
            f"(best {self.best:.4f})  {row['seconds']:.0f} s, {left / 60:.0f} min left in this stage",
            flush=True,
        )


def _assign(variables: list[keras.Variable], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def validate(model: keras.Model, batches, classes: int) -> dict[str, float]:
    """`foreground` and `mean` IoU of `model` over batches of (images, labels), fractions of 1."""
    foreground, mean = metrics.ForegroundIoU(), metrics.MeanIoU(classes)
    for images, labels in batches:
        logits = metrics.without_void(model.predict_on_batch(np.asarray(images)), classes)
        for metric in (foreground, mean):
            metric.update_state(labels, logits)
    return {name: float(metric.result()) for name, metric in (("foreground", foreground), ("mean", mean))}
