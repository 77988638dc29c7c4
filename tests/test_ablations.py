"""The tables of ablations: every row builds, a finished run is not trained again, one that fails stops no other."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from benchmarks import ablations
from benchmarks.ablation_tables import SHORT, TABLES, Row, Table, with_eoam
from keras_models import data, registry
from keras_models.command import UserError
from keras_models.papers.tables import TABLES as PAPERS
from keras_models.training import loop
from tests.test_data import make_folder

SMALL = dataclasses.replace(SHORT, batch_size=4)


def tiny(image, classes):
    """Logits of one convolution: what takes long in a test is to trace a real network."""
    return keras.layers.Conv2D(classes, 3, padding="same")(keras.layers.Rescaling(1 / 255)(image))


def impossible(image, classes):
    raise ValueError("no such network")


def table(*rows):
    return Table("two small networks", "folder", "foreground_iou", (32, 32), 12, rows, SMALL, split="val")


def options(folder, tmp_path, **changes):
    values = {"data_dir": str(folder), "seeds": (0,), "folder": str(tmp_path / "runs")}
    return ablations.AblationsOptions("small", output=str(tmp_path / "small.json"), **(values | changes))


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_a_network_and_sees_as_many_pixels(name):
    table = TABLES[name]
    for row in table.rows:
        stages = ablations.stages(table, row, photos=500)
        network = dataclasses.replace(
            registry.network(row.network), **({"builder": row.builder} if row.builder else {})
        )
        for stage in stages:
            network.check_input_size(stage.input_size)
        assert stages[-1].input_size == table.input_size
        seen = sum(s.epochs * 500 * s.input_size[0] * s.input_size[1] for s in stages)
        assert seen == pytest.approx(table.photos * table.input_size[0] * table.input_size[1], rel=0.15)
        if row.builder:
            with keras.StatelessScope(initialize_variables=False):
                assert network.build(input_size=table.input_size).output_shape[1:3] == table.input_size
            keras.backend.clear_session()


def test_published_figures_are_those_of_the_papers_tables():
    printed = {row.accuracy for table in PAPERS for row in table.rows}
    printed |= {other for table in PAPERS for row in table.rows for other in row.others}
    assert {row.published for table in TABLES.values() for row in table.rows} <= printed | {""}


def test_a_finished_run_is_not_trained_again_and_an_interrupted_one_goes_on(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "data", count=12)
    rows = (Row("plain", "extremec3", builder=tiny), Row("averaged", "extremec3", builder=tiny, changes={"ema": 0.5}))
    trained = []
    run = loop.run

    def counted(plan, place):
        trained.append(place.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return run(plan, place)

    monkeypatch.setattr(loop, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        ablations.run(table(*rows), options(folder, tmp_path))
    assert ablations.run(table(*rows), options(folder, tmp_path)) == 0
    assert trained == ["plain-0", "averaged-0", "averaged-0"]
    found = json.loads((tmp_path / "small.json").read_text())
    assert [sorted(row["runs"]) for row in found["rows"].values()] == [["0"], ["0"]]
    text = ablations.markdown(found)
    assert "| plain | 28 |" in text and "folder val" in text


def test_a_row_that_fails_is_named_and_the_others_are_trained(tmp_path, capsys):
    folder = make_folder(tmp_path / "data", count=12)
    rows = (Row("broken", "enet", builder=impossible), Row("plain", "extremec3", builder=tiny))
    assert ablations.run(table(*rows), options(folder, tmp_path)) == 1
    runs = [row["runs"]["0"] for row in json.loads((tmp_path / "small.json").read_text())["rows"].values()]
    assert runs[0] == {"reason": "ValueError: no such network"}
    assert 0 <= runs[1]["foreground_iou"] <= 1
    assert "failed: ValueError: no such network" in capsys.readouterr().out


def test_runs_of_other_numbers_are_not_mixed(tmp_path):
    folder = make_folder(tmp_path / "data", count=12)
    rows = (Row("broken", "enet", builder=impossible),)
    ablations.run(table(*rows), options(folder, tmp_path))
    with pytest.raises(UserError, match=r"runs of other numbers: \{'photos': 12\}, now \{'photos': 24\}"):
        ablations.run(table(*rows), options(folder, tmp_path, epochs=None, photos=24))


def test_a_row_of_generated_photos_asks_for_them_and_trains_on_both(tmp_path):
    folder, more = make_folder(tmp_path / "data", count=12), make_folder(tmp_path / "more", count=5)
    rows = (Row("generated", "extremec3", builder=tiny, more=True),)
    assert ablations.run(table(*rows), options(folder, tmp_path)) == 1
    assert ablations.run(table(*rows), options(folder, tmp_path, more=str(more))) == 0
    names = json.loads((tmp_path / "runs" / "small" / "generated-0" / "run.json").read_text())["data"]["train"]
    assert sum(name.startswith("more/") for name in names) > 0 and any(not n.startswith("more/") for n in names)


def test_all_rows_read_a_photo_once(tmp_path):
    dataset = data.load("folder", str(make_folder(tmp_path / "data", count=3)), "train")
    read = []
    counted = dataclasses.replace(dataset, load=lambda i: read.append(i) or dataset.load(i))
    kept = ablations.remembered(counted)
    for _ in range(2):
        images = [kept.load(i)[0] for i in range(len(dataset))]
    assert read == list(range(len(dataset)))
    assert all(np.array_equal(image, dataset.load(i)[0]) for i, image in enumerate(images))


def test_the_eoam_changes_logits_where_they_are_in_doubt_alone():
    network = dataclasses.replace(registry.network("espnet_c"), builder=with_eoam("espnet_c", "level1_prelu"))
    model = network.build(input_size=(32, 32))
    assert model.get_layer("eoam_doubt").output.shape[1:] == (32, 32, 1)
    assert model.count_params() - registry.build("espnet_c", input_size=(32, 32)).count_params() < 200


def test_spread_is_a_samples():
    assert ablations.spread([0.93, 0.95]) == "94.0 ± 1.4"
    assert ablations.spread([0.93]) == "93.0"
