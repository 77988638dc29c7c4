"""A run folder: what training leaves behind, and what it needs to go on exactly where it stopped.

run.json         options, recipe, seed, versions, git revision, names of the photos
model.keras      the best epoch of the current stage by the validation split
checkpoint.npz   the last epoch: weights, best weights, optimizer
history.csv      one row per epoch; logs/ holds the same for TensorBoard
preview.png      validation photos: photo, truth, prediction
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import json
import platform
import subprocess
import time
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_models import command, data, metrics, pictures
from keras_models.command import UserError


class Checkpoint(keras.callbacks.Callback):
    """Validates after each epoch, keeps the best weights, and writes all that an exact continuation needs.

    `network` is what is trained, validated and saved; the model that is fitted may have more outputs. The best epoch is
    that of the highest foreground IoU, with more than two classes of the highest mean IoU.
    """

    def __init__(self, folder: Path, stage: int, epochs: int, network: keras.Model, validation, classes: int):
        super().__init__()
        self.folder, self.stage, self.epochs, self.network = folder, stage, epochs, network
        self.validation, self.classes = validation, classes
        self.best, self.best_weights = -1.0, network.get_weights()
        self.durations: list[float] = []

    def restore(self, state: dict, model: keras.Model) -> int:
        """Take over weights, the fitted model's optimizer and the best so far; returns the epoch to go on with."""
        self.network.set_weights(_arrays(state, "model"))
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(model.optimizer.variables, _arrays(state, "optimizer"), strict=True):
            variable.assign(value)
        self.best, self.best_weights = float(state["best"]), _arrays(state, "best_model")
        return int(state["epoch"])

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise UserError(
                f"The loss is {logs['loss']} at step {batch + 1}: training has diverged. The last finished epoch is "
                f"kept in {self.folder}. Start again with a lower --learning-rate, or with --warmup-epochs."
            )

    def on_epoch_end(self, epoch, logs=None):
        ious = validate(self.network, self.validation, self.classes)
        kind = "foreground" if self.classes == 2 else "mean"
        if ious[kind] > self.best:
            self.best, self.best_weights = ious[kind], self.network.get_weights()
            save_model(self.network, self.folder / "model.keras")
        self._save(epoch + 1)
        row = {
            "stage": self.stage,
            "epoch": epoch + 1,
            "loss": float(logs["loss"]),
            "val_foreground_iou": ious["foreground"],
            "val_mean_iou": ious["mean"],
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": time.monotonic() - self.started,
        }
        self._log(row)
        self.durations.append(row["seconds"])
        left = np.median(self.durations) * (self.epochs - epoch - 1)
        print(
            f"epoch {epoch + 1}/{self.epochs}  loss {row['loss']:.4f}  val {kind} IoU {ious[kind]:.4f}  "
            f"(best {self.best:.4f})  {row['seconds']:.0f} s, {left / 60:.0f} min left in this stage",
            flush=True,
        )

    def _save(self, epoch: int) -> None:
        arrays = {"model": self.network.get_weights(), "best_model": self.best_weights}
        arrays["optimizer"] = [keras.ops.convert_to_numpy(variable) for variable in self.model.optimizer.variables]
        named = {f"{kind}/{i:05d}": array for kind, values in arrays.items() for i, array in enumerate(values)}
        with command.whole_file(self.folder / "checkpoint.npz") as path:
            np.savez(path, stage=self.stage, epoch=epoch, best=self.best, **named)

    def _log(self, row: dict) -> None:
        path = self.folder / "history.csv"
        done = list(csv.DictReader(path.open(newline=""))) if path.is_file() else []
        done = [old for old in done if (int(old["stage"]), int(old["epoch"])) < (row["stage"], row["epoch"])]
        with command.whole_file(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, row.keys())
            writer.writeheader()
            writer.writerows([*done, row])
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.summary.create_file_writer(str(self.folder / "logs" / f"stage-{self.stage}")).as_default():
                for name, value in row.items():
                    tf.summary.scalar(name, value, step=row["epoch"])


def validate(model: keras.Model, batches, classes: int) -> dict[str, float]:
    """Foreground IoU and mean IoU, as `foreground` and `mean`, of batches of (images, labels)."""
    measures = {"foreground": metrics.ForegroundIoU(), "mean": metrics.MeanIoU(classes)}
    for images, labels in batches:
        logits = model.predict_on_batch(images)
        for measure in measures.values():
            measure.update_state(labels, logits)
    return {name: float(measure.result()) for name, measure in measures.items()}


def save_model(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file, whole or not at all, that holds the network without its training state."""
    bare = keras.Model(model.input, model.output, name=model.name)
    with command.whole_file(path) as temporary:
        bare.save(temporary)


def _arrays(state: dict, kind: str) -> list[np.ndarray]:
    return [state[key] for key in sorted(state) if key.startswith(f"{kind}/")]


def read_checkpoint(folder: Path) -> dict:
    """What `Checkpoint` saved last in a run folder, for its `restore`. UserError when it is missing or damaged."""
    path = folder / "checkpoint.npz"
    if not path.is_file():
        raise UserError(f"{path} is not there: this run has no finished epoch to go on from. Start it anew.")
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}). Start the run anew.") from error


def write_run(folder: Path, options, recipe, training: data.Dataset, validation: data.Dataset, classes: dict) -> None:
    """Write run.json: options and recipe (dataclasses), versions, git revision, names of the photos and classes."""
    run = {
        "options": dataclasses.asdict(options),
        "recipe": dataclasses.asdict(recipe),
        "versions": {
            "pocketseg": _version("pocketseg"),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            keras.backend.backend(): _version(keras.backend.backend()),
            "python": platform.python_version(),
        },
        "git_revision": _git_revision(),
        "data": {"train": list(training.names), "val": list(validation.names)},
        "classes": classes,
    }
    command.write_text(folder / "run.json", json.dumps(run, indent=1))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    source = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def write_preview(folder: Path, model: keras.Model, validation, count: int = 8) -> None:
    """A picture of validation photos: photo, truth, prediction, one row each."""
    size = model.input_shape[1:3]
    subset = validation.subset(range(min(count, len(validation))), validation.title)
    images, labels = zip(*(subset.load(i) for i in range(len(subset))), strict=True)
    images = np.stack([data.prepare_image(image, size) for image in images])
    labels = np.stack([data.prepare_mask(label, size) for label in labels])
    predictions = metrics.predicted_labels(model.predict_on_batch(images))
    predictions = [data.prepare_mask(label, size) for label in np.asarray(predictions, np.uint8)]
    if len(validation.class_names) == 2:
        predictions = np.minimum(predictions, 1)
    colors = pictures.class_colors(validation)
    rows = [
        np.hstack([i, pictures.overlay(i, t, colors), pictures.overlay(i, p, colors)])
        for i, t, p in zip(images, labels, predictions, strict=True)
    ]
    pictures.write(folder / "preview.png", np.vstack(rows))
