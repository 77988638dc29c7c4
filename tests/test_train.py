"""Training through its command: runs repeat, stop and go on, learn, and say what is wrong before they start."""

import contextlib
import csv
import dataclasses
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_models
from keras_models import build, data, models, registry, train
from keras_models.command import UserError
from keras_models.training import loop, provenance, runs, stages
from tests.backend import ON_JAX
from tests.test_data import make_folder

SMALL = ["--input-size", "32", "--epochs", "3", "--batch-size", "4", "--learning-rate", "0.003"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "photos", 12)


@pytest.fixture(scope="module")
def options(folder):
    return ["extremec3_coarse", "--dataset", "folder", "--data-dir", str(folder), "--recipe", "paper", *SMALL]


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """A run of three epochs without a break."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train.main([*options, "--output", str(run)]) == 0
    return run


def rows(run):
    return list(csv.DictReader((Path(run) / "history.csv").open()))


def test_run_folder_holds_what_later_commands_need(whole):
    run = json.loads((whole / "run.json").read_text())
    assert run["options"]["seed"] == 0
    assert Path(run["options"]["data_dir"]).is_absolute()
    assert run["recipe"]["stages"][0]["batch_size"] == 4
    assert len(run["data"]["train"]) == 10
    assert {"keras", "python", "backend"} <= run["versions"].keys()
    assert [int(row["epoch"]) for row in rows(whole)] == [1, 2, 3]
    assert (whole / "preview.png").is_file()
    assert any((whole / "logs").rglob("events*"))
    assert models.load(whole).name == "extremec3_coarse"


def test_what_a_run_began_from_is_found_from_anywhere(options, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(whole.parent)
    further = tmp_path / "further"
    assert train.main([*options, "--epochs", "1", "--weights", "whole", "--output", str(further)]) == 0
    monkeypatch.chdir(tmp_path)
    run = json.loads((further / "run.json").read_text())
    assert run["options"]["weights"] == str(whole)
    behind = provenance.of_run(further, run)["began_from"]  # for a preset's card
    assert (behind["name"], behind["epochs"], behind["began_from"]) == ("whole", 3, None)
    assert behind["command"].startswith("python -m keras_models.train extremec3_coarse --dataset folder")


class Stopped(KeyboardInterrupt):
    """Ctrl-C, or the end of the process, just after an epoch has been written."""


@contextlib.contextmanager
def stopping_after(monkeypatch, epochs, stage=1):
    finished = loop.EndOfEpoch.on_epoch_end

    def stop(self, epoch, logs=None):
        finished(self, epoch, logs)
        if (self.stage, epoch + 1) == (stage, epochs):
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(loop.EndOfEpoch, "on_epoch_end", stop)
        yield


def net_with_dropout(image, classes):
    """A network whose dropout draws new masks at each step."""
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="stem")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    x = keras.layers.Conv2D(classes, 1, name="head")(x)
    return keras.layers.Resizing(*image.shape[1:3], name="up")(x)


DROPOUT = [
    "tests.test_train:net_with_dropout",
    "--input-size",
    "16",
    "--epochs",
    "3",
    "--batch-size",
    "4",
    "--ema",
    "0.9",
]


def test_a_resumed_run_with_dropout_is_equal_to_an_unbroken_one(folder, tmp_path, monkeypatch, capsys):
    arguments = [*DROPOUT, "--dataset", "folder", "--data-dir", str(folder), "--clip-norm", "1"]
    arguments += ["--ema", "0.9"]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert train.main([*arguments, "--output", str(unbroken)]) == 0
    with stopping_after(monkeypatch, 1):
        assert train.main([*arguments, "--output", str(broken)]) == 130
    assert f"--resume {broken}" in capsys.readouterr().out
    (broken / "history.csv").unlink()  # as if the process had died before it wrote it
    (broken / ".checkpoint-x1.npz").write_bytes(b"half")
    assert train.main(["--resume", str(broken)]) == 0
    assert not list(broken.glob(".checkpoint*"))
    for row, expected in zip(rows(broken), rows(unbroken), strict=True):
        del row["seconds"], expected["seconds"]
        assert row == expected
    ours, theirs = (runs.read_checkpoint(run) for run in (broken, unbroken))
    for kind in ("model", "optimizer", "best_model"):
        for a, b in zip(ours[kind], theirs[kind], strict=True):
            np.testing.assert_array_equal(a, b)
    assert any(np.issubdtype(array.dtype, np.integer) for array in ours["model"])  # the seeds' state
    assert train.main(["--resume", str(broken), "--epochs", "4"]) == 0  # longer than planned
    assert [int(row["epoch"]) for row in rows(broken)] == [1, 2, 3, 4]
    assert json.loads((broken / "run.json").read_text())["options"]["changes"]["epochs"] == 4  # for whoever repeats it
    capsys.readouterr()
    assert train.main(["--resume", str(broken)]) == 0
    assert "another than when the run began" not in capsys.readouterr().out


def in_three_stages(folder):
    """A plan of stages of two epochs at growing sizes, the seed set anew as each start of the command does."""
    keras.utils.set_random_seed(5)
    [pocket] = registry.network("tests.test_train:net_with_dropout").recipes["pocket"].stages
    stages = []
    for size in (16, 24, 32):
        stage = dataclasses.replace(pocket.lasting(2), batch_size=4, input_size=(size, size))
        stages.append((stage, registry.network("tests.test_train:net_with_dropout").build(2, (size, size))))
    training, validation = (data.load("folder", folder, split) for split in ("train", "val"))
    return loop.Plan(tuple(stages), training, validation, {"options": {}, "recipe": {}}, seed=5)


@pytest.mark.parametrize(("stage", "epoch"), [(1, 2), (2, 1)], ids=["at the boundary", "behind it"])
def test_a_run_resumed_across_stages_is_equal_to_an_unbroken_one(folder, tmp_path, monkeypatch, stage, epoch):
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
    loop.run(in_three_stages(folder), tmp_path / "unbroken")
    with stopping_after(monkeypatch, epoch, stage), pytest.raises(Stopped):
        loop.run(in_three_stages(folder), tmp_path / "broken")
    loop.run(in_three_stages(folder), tmp_path / "broken")
    ours, theirs = (runs.read_checkpoint(tmp_path / name) for name in ("broken", "unbroken"))
    for row in (*ours["history"], *theirs["history"]):
        del row["seconds"]
    assert ours["history"] == theirs["history"]
    assert [(row["stage"], row["epoch"]) for row in ours["history"]] == [(s, e) for s in (1, 2, 3) for e in (1, 2)]
    for kind in ("model", "optimizer", "best_model"):
        for a, b in zip(ours[kind], theirs[kind], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(ON_JAX, reason="this is the run on JAX")
def test_two_processes_have_the_losses_of_one_also_when_they_go_on(folder, tmp_path):
    """The same total batch, divided on JAX between two processes that talk over the loopback, stopped and resumed."""
    pytest.importorskip("jax", reason="needs jax: pip install jax")

    def start(*arguments, **names):
        environment = {f"KERAS_{name}": value for name, value in {"BACKEND": "jax", **names}.items()}
        return subprocess.Popen(
            [sys.executable, "-m", "keras_models", "train", *arguments],
            env={**os.environ, **environment},
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_both(*arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        names = {"DISTRIBUTION_JOB_ADDRESSES": address, "DISTRIBUTION_NUM_PROCESSES": "2"}
        return [start(*arguments, DISTRIBUTION_PROCESS_ID=str(i), **names) for i in (0, 1)]

    def finish(*processes):
        for process in processes:
            said = process.communicate(timeout=400)[0]
            assert process.returncode == 0, said

    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    new = ["tests.test_train:net_with_norm", *DROPOUT[1:], "--dataset", "folder", "--data-dir", str(folder)]
    new += ["--schedule", "step"]  # it does not look at the last epoch's number
    alone = start(*new, "--output", one)
    finish(*start_both(*new, "--output", two, "--epochs", "2", "--distribute"))
    finish(alone, *start_both("--resume", two, "--epochs", "3"))
    assert [int(row["epoch"]) for row in rows(two)] == [1, 2, 3]
    for row, expected in zip(rows(two), rows(one), strict=True):
        for name in ("loss", "val_foreground_iou", "learning_rate"):
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-3), name


def net_with_norm(image, classes):
    """A network whose batch normalisation must see the whole batch."""
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Conv2D(classes, 1, name="head")(x)
    return keras.layers.UpSampling2D(2, name="up")(x)


def test_ctrl_c_in_the_first_epoch_can_be_resumed(options, whole, tmp_path, monkeypatch, capsys):
    run, began = tmp_path / "run", tmp_path / "began.keras"
    shutil.copy(whole / "model.keras", began)
    options = [*options, "--weights", str(began)]

    def interrupt(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(loop.EndOfEpoch, "on_epoch_begin", interrupt)
        assert train.main([*options, "--output", str(run)]) == 130
    resume = capsys.readouterr().out.rpartition("keras_models.train ")[2].split()
    starts, fit = [], keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda self, *a, **k: [starts.append(self.get_weights()), fit(self, *a, **k)]
    )
    with stopping_after(monkeypatch, 1):
        assert train.main(resume) == 130
    assert len(rows(run)) == 1
    for start, trained in zip(starts[0], models.load(began).get_weights(), strict=True):
        np.testing.assert_array_equal(start, trained)
    began.unlink()
    behind = provenance.of_run(run, json.loads((run / "run.json").read_text()))["began_from"]
    assert behind == {"name": "began.keras"}  # which is all that is left of it


def test_photos_that_go_away_during_the_training_are_named(options, folder, tmp_path, monkeypatch):
    photos, run = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(folder, photos)
    options = [str(photos) if option == str(folder) else option for option in options]

    def pull_the_plug(*_):
        (photos / "images").rename(tmp_path / "gone")

    monkeypatch.setattr(loop.EndOfEpoch, "on_epoch_begin", pull_the_plug)
    with pytest.raises(UserError, match=rf"Cannot read .*images.*\n.*--resume {run}"):
        train.main([*options, "--cache-gb", "0", "--output", str(run)])


def test_a_folder_of_photos_needs_no_kind(folder, capsys):
    with pytest.raises(UserError, match="has no recipe 'none'"):
        train.main(["pocketnet_m", "--data-dir", str(folder), "--recipe", "none"])
    assert train.main(["pocketnet_m", "--data-dir", str(folder), "--print-recipe"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["epochs"] > 20  # the network's own, not the drawings'
    with pytest.raises(UserError, match=f"What kind of dataset is {folder}"):
        data.load("drawings", folder)


def test_a_resumed_run_says_that_the_photos_are_others(options, folder, tmp_path, monkeypatch):
    photos, run = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(folder, photos)
    options = [str(photos) if option == str(folder) else option for option in options]
    with stopping_after(monkeypatch, 1):
        assert train.main([*options, "--output", str(run)]) == 130
    moved = tmp_path / "moved"
    photos.rename(moved)
    with pytest.raises(UserError, match="There is no folder"):
        train.main(["--resume", str(run)])
    assert train.main(["--resume", str(run), "--data-dir", str(moved), "--epochs", "1"]) == 0
    next((moved / "images").iterdir()).unlink()
    with pytest.raises(UserError, match=r"not those that this run began with.*no longer there"):
        train.main(["--resume", str(run)])


def test_two_trainings_do_not_share_a_folder(options, tmp_path):
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert held.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by another training: process {held.pid}"):
            train.main([*options, "--output", str(tmp_path / "run")])
    finally:
        held.kill()
        held.wait()
    with runs.locked(tmp_path / "run"):  # released with the process that held it
        runs.require_empty(tmp_path / "run")
    assert not (tmp_path / "run").exists()  # nothing was written


HOLD = """
import sys
from pathlib import Path
from keras_models.training import runs
with runs.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_folder_deleted_during_training_is_not_made_again(whole, tmp_path):
    gone = tmp_path / "gone"
    with pytest.raises(UserError, match="was deleted or emptied"):
        runs.write_checkpoint(gone, {"stage": 1, "epoch": 1, "best": 0.5}, [{"stage": 1}], {})
    assert not gone.exists()


def test_the_command_is_a_function(folder, tmp_path, capsys):
    model = keras_models.build("extremec3_coarse", classes=2, input_size=32)
    train_set, val_set = (keras_models.data.load("folder", folder, split) for split in ("train", "val"))
    history = keras_models.fit(
        model, train=train_set, val=val_set, recipe="pocket", output=tmp_path / "run", epochs=1, batch_size=4
    )
    assert [row["epoch"] for row in history] == [1]
    for ours, saved in zip(model.get_weights(), keras_models.load(tmp_path / "run").get_weights(), strict=True):
        np.testing.assert_array_equal(ours, saved)
    with pytest.raises(UserError, match=r"3 channel.*2 classes"):
        keras_models.fit(keras_models.build("extremec3", classes=3, input_size=32), train_set, val_set)


def test_diverged_loss_stops_with_an_explanation(options, tmp_path):
    with pytest.raises(UserError, match=r"diverged(.|\n)*--learning-rate"):
        train.main([*options, "--output", str(tmp_path / "run"), "--learning-rate", "1e30"])


def test_full_disk_leaves_the_last_epoch(whole, tmp_path, monkeypatch):
    model = models.load(whole)
    path = tmp_path / "model.keras"
    runs.save_model(model, path)
    before = path.read_bytes()

    def full(self, target):
        target.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        runs.save_model(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


MISTAKES = {
    "unknown network": (["extremec4"], "Unknown network.*Valid names: .*extremec3"),
    "no data": (["extremec3", "--dataset", "eg1800"], "needs --data-dir"),
    "missing folder": (["extremec3", "--dataset", "eg1800", "--data-dir", "nowhere"], "There is no folder nowhere"),
    "unknown recipe": (
        ["extremec3", "--recipe", "fast"],
        "no recipe 'fast'.*paper, code, cross_entropy, lovasz, pocket, mixed, drawings, tune",
    ),
    "odd size": (["extremec3", "--input-size", "50"], "multiples of 4.*48x48"),
    "no epochs": (["extremec3", "--epochs", "0"], "--epochs must be at least 1"),
    "resume nothing": (["--resume", "nowhere"], "nowhere is no run folder"),
    "resume and name": (["extremec3", "--resume", "nowhere"], "omit NETWORK"),
    "resume and a number": (["--resume", "nowhere", "--learning-rate", "1"], "omit --learning-rate"),
    "a seed below 0": (["extremec3", "--seed", "-1"], "--seed must be at least 0"),
    "a rate that is none": (["extremec3", "--learning-rate", "nan"], "--learning-rate must be above 0"),
    "a number that does nothing": (
        ["extremec3", "--recipe", "pocket", "--boundary-kernel", "3"],
        "--boundary-kernel is",
    ),
    "weights of which nothing fits": (["sinet", "--weights", "extremec3-eg1800"], "No layer of sinet fits"),
    "no such module": (["nowhere.net:net"], "There is no network 'nowhere.net:net'"),
    "no such function": (["tests.test_train:netz"], "There is no network"),
    "foreign weights": (["extremec3", "--weights", "nothing"], "There is no model 'nothing'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_before_training(mistake, tmp_path, monkeypatch):
    arguments, message = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        train.main(arguments)
    assert not (tmp_path / "runs").exists()


def test_run_folder_is_never_overwritten(whole, options):
    with pytest.raises(UserError, match="is not empty"):
        train.main([*options, "--output", str(whole)])


def test_weight_decay_spares_depthwise_kernels():
    model = build("extremec3", input_size=(32, 32))
    factors = {variable.path: factor for variable, factor in stages.decay_factors(model)}
    assert len(factors) == len(model.trainable_variables)
    assert factors["l4_c3_1_depthwise/kernel"] == 0
    assert factors["l4_c3_1_horizontal/kernel"] == 0
    assert factors["head/kernel"] == 1
    assert factors["fuse_prelu/alpha"] == 0.01


def test_paper_recipe_is_the_published_one(capsys):
    assert train.main(["extremec3", "--recipe", "paper", "--print-recipe"]) == 0
    coarse, fine = json.loads(capsys.readouterr().out)["stages"]
    assert (coarse["network"], fine["network"]) == ("extremec3_coarse", None)
    for stage in (coarse, fine):
        assert (stage["epochs"], stage["batch_size"], stage["learning_rate"]) == (300, 60, 1e-3)
        assert [fraction * stage["epochs"] for fraction in stage["schedule"]["at"]] == pytest.approx([150, 250])
        assert (stage["loss"]["kernel"], stage["optimizer"]["weight_decay"]) == (7, 5e-4)


@pytest.mark.parametrize(
    "card", sorted(Path(keras_models.__file__).parent.glob("presets/*/card.json")), ids=lambda card: card.parent.name
)
def test_the_command_on_a_presets_card_can_be_typed(card, capsys):
    facts = json.loads(card.read_text(encoding="utf-8"))
    words = shlex.split(facts["command"])
    assert words[:3] == ["python", "-m", "keras_models.train"]
    assert train.main([*words[3:], "--print-recipe"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [s["epochs"] for s in stages] == [s["epochs"] for s in facts["recipe"]["stages"]]


def test_trained_weights_are_tuned_gently():
    started = train.TrainOptions(network="pocketnet_m", weights="mine.keras", dataset="folder")
    (stage,) = train.choose_recipe(started).stages
    anew = train.choose_recipe(train.TrainOptions(network="pocketnet_m", dataset="folder"))
    assert stage.learning_rate < min(s.learning_rate for s in anew.stages[:2])
    assert stage.input_size is None
