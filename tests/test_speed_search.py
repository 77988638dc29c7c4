"""The speed table and the search for PocketNet's shape: what is done is not done again; tables show what was found."""

import dataclasses
import json

import keras
import pytest

from benchmarks import ablations, machine, search, speed
from keras_models import data, models, registry
from keras_models.command import UserError
from tests.test_data import make_folder

COARSE = "extremec3_coarse"


@pytest.fixture
def results(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(machine, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_a_network_is_timed_once_in_all_its_forms(tmp_path, results, monkeypatch):
    monkeypatch.setattr(speed, "REFERENCE", COARSE)
    arguments = [COARSE, "--input-size", "30", "--seconds", "0.01", "--folder", str(tmp_path)]
    with pytest.raises(UserError, match="add --convert once"):
        speed.main(arguments)
    assert speed.make((COARSE, (32, 32), speed.paths(tmp_path, COARSE, (32, 32)))) == ""
    speed.main(arguments)
    result = json.loads((results / "speed.json").read_text())
    (row,) = result["rows"]
    assert row["input_size"] == [32, 32] and {t["form"] for t in row["times"]} == {"float32", "int8"}
    monkeypatch.setattr(speed, "measured", None)  # a second timing would fail
    speed.main(arguments)
    assert f"| {COARSE} | 32x32 | 33,178 |" in speed.table(result)
    monkeypatch.setattr(machine, "describe", lambda: result["machine"] | {"processor": "another"})
    with pytest.raises(UserError, match="now another"):
        speed.main(arguments)


def test_figures_that_are_kept_say_since_when(monkeypatch):
    before = machine.describe() | {"date": "2026-01-02", "tensorflow": "1.0"}
    assert machine.grown(before)["date"].startswith("2026-01-02 to ")
    assert machine.grown(machine.grown(before)) == machine.grown(before)
    assert machine.grown(before)["tensorflow"] == "1.0"
    with pytest.raises(UserError, match=r"tensorflow 1\.0, now"):
        machine.grown(before, ("tensorflow",))


def test_networks_are_chosen_by_their_parameters_and_sized_by_what_they_take():
    names = speed.chosen((), below=40_000)
    assert COARSE in names and "extremec3" in names and "portraitnet" not in names
    assert [registry.network(name).parameters for name in names] == sorted(
        registry.network(name).parameters for name in names
    )
    assert speed.input_size("sinet_cityscapes", "224") == (256, 256)
    assert speed.input_size("sinet_cityscapes", "own") == (1024, 2048)
    with pytest.raises(UserError, match="Unknown networks"):
        speed.chosen(("nothing",), 1)


def test_printed_speeds_name_registered_networks():
    assert {name for figures in speed.PRINTED.values() for name in figures} <= set(registry.names())


def test_the_registered_shapes_are_among_the_candidates():
    candidates = search.drawn(5, seed=1)
    assert len(set(candidates)) == 14 + len(search.NARROWER) and candidates == search.drawn(5, seed=1) != search.drawn(
        5, seed=2
    )
    at_224 = [candidate for candidate in candidates[:9] if candidate.side == 224]
    _, plain, _ = at_224  # the smallest and the largest are no registered networks
    s, m, large = (search.NARROWER[i] for i in (0, 5, 9))
    for candidate, name in ((plain, "pocketnet_plain"), (s, "pocketnet_s"), (m, "pocketnet_m"), (large, "pocketnet_l")):
        network = registry.network(name)
        counted = search.facts(candidate)
        assert (counted["parameters"], counted["macs"]) == (network.parameters, network.macs)


def test_a_narrower_candidate_begins_from_the_larger_models_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_models.prune.PHOTOS", 2)
    candidate = dataclasses.replace(search.NARROWER[0], side=32)
    training = data.load("folder", make_folder(tmp_path / "data", count=12), "train")
    file = search.pruned("pocketnet-l", candidate, training, tmp_path / "run")
    assert models.load(file).count_params() == registry.network("pocketnet_s").build(1).count_params()
    assert search.pruned("nothing", candidate, training, tmp_path / "run") == file  # made once


def test_the_front_is_what_nothing_beats():
    assert search.front([(2, 5), (1, 3), (3, 4), (2, 6), (4, 7)]) == [1, 3, 4]


def test_the_promising_are_trained_once_and_compared_at_one_size(tmp_path, results, monkeypatch, capsys):
    folder = make_folder(tmp_path / "data", count=12)
    candidates = search.drawn(1, seed=0)[4:6]  # pocketnet_plain's
    for candidate in candidates:
        (tmp_path / f"{candidate.name}.tflite").touch()
    monkeypatch.setattr(search, "timed", lambda files: [1.0 + i for i in range(len(files))])
    common = ["--candidates", "1", "--folder", str(tmp_path)]
    training = ["train", *common, "--dataset", "folder", "--data-dir", str(folder), "--best", "1", "--share", "0.1"]
    with pytest.raises(UserError, match="no time yet"):
        search.main(training)
    search.main(["time", *common])

    def trained(table, row, seed, place, *photos):
        assert table.input_size == (32, 32)
        place.mkdir(parents=True)
        keras.utils.set_random_seed(seed)
        image = keras.Input((32, 32, 3))
        keras.Model(image, keras.layers.Conv2D(1, 1)(image)).save(place / "model.keras")
        return {"minutes": 1.0}

    monkeypatch.setattr(ablations, "train", trained)
    search.main(training)
    assert (results / "search.png").stat().st_size > 1000
    monkeypatch.setattr(ablations, "train", None)  # a second training would fail
    search.main(training)
    rows = json.loads((results / "search.json").read_text())["rows"]
    assert sum("foreground_iou" in row for row in rows) == 1
    with pytest.raises(UserError, match="was trained otherwise"):
        search.main([*training, "--photos", "5"])
    assert "| **w16" in capsys.readouterr().out
    search.main(["inputs", *common, "--dataset", "folder", "--data-dir", str(folder)])
    rows = json.loads((results / "search.json").read_text())["rows"]
    found = {row["side"]: row["preset"]["foreground_iou"] for row in rows}
    assert set(found) == {160, 192} and found[160] != found[192] and 0 < min(found.values()) <= 1
    assert f"({100 * rows[0]['preset']['boundary_iou']:.1f}) |" in capsys.readouterr().out
