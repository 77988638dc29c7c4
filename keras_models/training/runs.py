"""A run folder: what training leaves behind, and what it needs to go on exactly where it stopped.

run.json         options, recipe, seed, versions, git revision, names of the photos and classes
model.keras      the best epoch of the current stage by the validation split
checkpoint.npz   the last epoch: weights and states of the seeds, best weights, optimizer, the history so far
history.csv      one row per epoch; logs/ holds the same for TensorBoard
preview.png      validation photos: photo, truth, prediction
"""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from keras_models import command, data, metrics, pictures
from keras_models.command import UserError

LOCK = ".lock"


# -- One process at a time ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if it is missing, for this process; the system lets go when the process ends.

    UserError names the process that holds it, or what is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot make the run folder {folder}: {error.strerror}.") from error
    with file:
        if not _lock(file):
            file.seek(0)
            raise UserError(f"{folder} is in use by another training: {file.read().strip() or 'one just started'}.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        try:
            yield
        finally:
            file.close()
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()  # where nothing has been written


def _lock(file) -> bool:
    """Whether the file could be locked for this process."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(1 << 20)  # Windows locks bytes, and others may read the first ones
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# -- Beginning and going on --------------------------------------------------------------------------------------------


def require_empty(folder: Path) -> None:
    """UserError when `folder`, which this process has locked, holds anything."""
    if any(path.name != LOCK for path in folder.iterdir()):
        hint = f", or go on with it: --resume {folder}" if (folder / "run.json").is_file() else ""
        raise UserError(f"{folder} is not empty. Choose another --output{hint}.")


def write_run(folder: Path, facts: dict, training: data.Dataset, validation: data.Dataset, classes: dict) -> None:
    """Write run.json: `facts` (options and recipe), versions, git revision, names of the photos and classes."""
    run = facts | {
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


def read_run(folder: Path) -> dict:
    """run.json of a run folder. UserError when it is missing or damaged."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is no run folder that can be resumed: {error}") from error


def require_same_photos(run: dict, training: data.Dataset, validation: data.Dataset) -> None:
    """UserError when the photos are not those that the run began with: then the splits may have moved, too."""
    problems = []
    for split, dataset in (("train", training), ("val", validation)):
        before, now = run["data"][split], list(dataset.names)
        gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
        problems += [
            f"{split}: {len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for names, what in ((gone, "no longer there"), (new, "that it did not have"))
            if names
        ]
        if not (gone or new) and before != now:
            problems.append(f"{split}: in another order")
    if problems:
        raise UserError(
            f"The photos are not those that this run began with. {'; '.join(problems)}. A photo could pass from one "
            "split to the other. Bring them back, or begin anew with --weights RUN."
        )


def say_what_changed(run: dict) -> None:
    """Print a line for each version that is another than when the run began."""
    now = {"pocketseg": _version("pocketseg"), "keras": keras.__version__, "backend": keras.backend.backend()}
    for name, version in now.items():
        if run["versions"].get(name) != version:
            print(f"note: the run began with {name} {run['versions'].get(name)}, it goes on with {version}")
    if (revision := _git_revision()) != run.get("git_revision"):
        print(f"note: the run began with the code of {run.get('git_revision')}, it goes on with that of {revision}")


def sweep(folder: Path) -> None:
    """Delete what a process that was killed left half-written (`command.whole_file`)."""
    for stem in ("checkpoint", "model", "history", "run", "preview"):
        for path in folder.glob(f".{stem}-*"):
            path.unlink(missing_ok=True)


# -- The last epoch ----------------------------------------------------------------------------------------------------


def require_run(folder: Path) -> None:
    """UserError when the run folder has been deleted since it was made: half a run folder is none."""
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} was deleted or emptied while the training ran; it is not made again.")


def write_checkpoint(folder: Path, facts: dict, rows: list[dict], arrays: dict[str, list[np.ndarray]]) -> None:
    """Write checkpoint.npz, which says everything, and then history.csv, which says again what `rows` say.

    `facts`: numbers by name. UserError when the run folder is gone.
    """
    require_run(folder)
    write_state(folder / "checkpoint.npz", facts | {"history": json.dumps(rows)}, arrays)
    write_history(folder, rows)


def read_checkpoint(folder: Path) -> dict | None:
    """What `write_checkpoint` wrote last: its facts, `history`, and its arrays by kind; None before the first epoch.

    UserError when it is damaged.
    """
    path = folder / "checkpoint.npz"
    state = read_state(path)
    try:
        return state and state | {"history": json.loads(state["history"])}
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}). Delete {folder} and begin anew.") from error


def write_state(path: Path, facts: dict, arrays: dict[str, list[np.ndarray]]) -> None:
    """Write numbers and texts by name, and lists of arrays by kind, into one `.npz` file, whole or not at all."""
    named = {f"{kind}/{i:05d}": array for kind, values in arrays.items() for i, array in enumerate(values)}
    with command.whole_file(path) as temporary:
        np.savez(temporary, **facts, **named)


def read_state(path: Path) -> dict | None:
    """The facts and arrays that `write_state` wrote, None when there is no such file. UserError when it is damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {}
            for key in sorted(file):
                kind, _, number = key.partition("/")
                if number:
                    state.setdefault(kind, []).append(file[key])
                else:
                    state[kind] = file[key].item()
            return state
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}). Delete {path.parent} and begin anew.") from error


def write_history(folder: Path, rows: list[dict]) -> None:
    """Write history.csv, one row per epoch."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    command.write_text(folder / "history.csv", text.getvalue())


def read_history(folder: str | Path) -> list[dict[str, float]]:
    """The rows of a run folder's history.csv; UserError when there is none, or it is damaged."""
    path = Path(folder) / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        if not rows or not {"loss", "val_mean_iou", "seconds"} <= rows[0].keys():
            raise ValueError("it has no epochs")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no history of a training: {error}") from error
    return rows


def write_log(folder: Path, row: dict) -> None:
    """Add the epoch to TensorBoard's log; Keras' other backends have none."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.summary.create_file_writer(str(folder / "logs" / f"stage-{row['stage']}")).as_default():
            for name, value in row.items():
                tf.summary.scalar(name, value, step=row["epoch"])


def save_model(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file, whole or not at all, that holds the network without its training state."""
    bare = keras.Model(model.input, model.output, name=model.name)
    with command.whole_file(path) as temporary:
        bare.save(temporary)


def write_preview(folder: Path, model: keras.Model, validation, count: int = 8) -> None:
    """A picture of validation photos: photo, truth, prediction, one row each."""
    size = model.input_shape[1:3]
    subset = validation.subset(range(min(count, len(validation))), validation.title)
    images, labels = zip(*(subset.load(i) for i in range(len(subset))), strict=True)
    images = np.stack([data.prepare_image(image, size) for image in images])
    labels = np.stack([data.prepare_mask(label, size) for label in labels])
    found = metrics.predicted_labels(model.predict_on_batch(images), len(validation.class_names))
    predictions = [data.prepare_mask(label.astype(np.uint8), size) for label in keras.ops.convert_to_numpy(found)]
    colors = pictures.class_colors(validation)
    rows = [
        np.hstack([i, pictures.overlay(i, t, colors), pictures.overlay(i, p, colors)])
        for i, t, p in zip(images, labels, predictions, strict=True)
    ]
    pictures.write(folder / "preview.png", np.vstack(rows))


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
