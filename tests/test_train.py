"""Training through its command: runs repeat, stop and go on, learn, and say what is wrong before they start."""

import csv
import json

import keras
import numpy as np
import pytest

from keras_models import build, models, train
from keras_models.command import UserError
from keras_models.training import runs, stages
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
    return list(csv.DictReader((run / "history.csv").open()))


def test_run_folder_holds_what_later_commands_need(whole):
    run = json.loads((whole / "run.json").read_text())
    assert run["options"]["seed"] == 0
    assert run["recipe"]["stages"][0]["batch_size"] == 4
    assert (len(run["data"]["train"]), len(run["data"]["val"])) == (9, 2)
    assert {"keras", "python", "backend"} <= run["versions"].keys()
    assert [int(row["epoch"]) for row in rows(whole)] == [1, 2, 3]
    assert (whole / "preview.png").is_file()
    assert any((whole / "logs").rglob("events*"))
    assert models.load(whole).name == "extremec3_coarse"


def test_interrupted_run_goes_on_exactly(whole, options, tmp_path, monkeypatch, capsys):
    run = tmp_path / "stopped"
    finished = runs.Checkpoint.on_epoch_end

    def stop_after_first_epoch(self, epoch, logs=None):
        finished(self, epoch, logs)
        if epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Checkpoint, "on_epoch_end", stop_after_first_epoch)
        assert train.main([*options, "--output", str(run)]) == 130
    assert f"--resume {run}" in capsys.readouterr().out
    assert train.main(["--resume", str(run)]) == 0
    for row, expected in zip(rows(run), rows(whole), strict=True):
        for name in ("epoch", "loss", "val_foreground_iou", "learning_rate"):
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-3), name
    for ours, expected in zip(models.load(run).get_weights(), models.load(whole).get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-2, atol=1e-3)


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
    "unknown recipe": (["extremec3", "--recipe", "fast"], "no recipe 'fast'.*paper, pocket, drawings"),
    "odd size": (["extremec3", "--input-size", "50"], "multiples of 4.*48x48"),
    "no epochs": (["extremec3", "--epochs", "0"], "--epochs must be above 0"),
    "resume nothing": (["--resume", "nowhere"], "nowhere is no run folder"),
    "resume and name": (["extremec3", "--resume", "nowhere"], "leave NETWORK"),
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
    assert (coarse["network"], fine["network"]) == ("extremec3_coarse", "extremec3")
    for stage in (coarse, fine):
        assert (stage["epochs"], stage["batch_size"], stage["learning_rate"]) == (300, 60, 1e-3)
        assert [fraction * stage["epochs"] for fraction in stage["halve_at"]] == pytest.approx([150, 250])
    assert (coarse["boundary_kernel"], fine["boundary_kernel"]) == (5, 15)
