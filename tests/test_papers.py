"""What the papers print, and where the implementation must not differ from it: recipes, dilations, measures, tables."""

import dataclasses
import itertools
import json

import cv2
import keras
import numpy as np
import pytest

from keras_models import blocks, complexity, data, evaluate, models, predict, registry, train
from keras_models.command import UserError
from keras_models.data.images import read_image
from keras_models.networks import espnet, extremec3
from keras_models.papers.tables import FIGURES, FOREGROUND_IOU, PARTS_IOU, TABLES
from keras_models.training import loop, methods, recipes
from tests.test_data import make_folder

SIZE = (40, 48)
PERSON = ("background", "person")


def recipe(network, name="paper"):
    return registry.network(network).recipes[name]


def rows(paper, beginning):
    (table,) = (table for table in TABLES if table.paper == paper and table.title.startswith(beginning))
    return {row.method: row for row in table.rows}


def figures(beginning):
    (table,) = (table for table in FIGURES if table.title.startswith(beginning))
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


# -- Networks and recipes ----------------------------------------------------------------------------------------------


def test_the_reversed_setting_has_its_large_dilations_at_l1_l2_and_l3():
    large = [module for module, dilations in extremec3.REVERSE_DILATIONS.items() if dilations == (2, 4, 8)]
    assert large == ["l1", "l2", "l3"]
    assert set(extremec3.REVERSE_DILATIONS.values()) == set(extremec3.DILATIONS.values())


@pytest.mark.parametrize(
    ("networks", "name"),
    [
        (("extremec3", "extremec3_baseline", "extremec3_reverse"), "cross_entropy"),
        (tuple(row.network for row in rows("C3", "table 3").values()), "paper"),
        (("espnet", "espnet_tiny", "ccc1", "ccc2", "ccc_espnet"), "paper"),
        (("erfnet", "ccc_erfnet"), "paper"),
    ],
)
def test_rows_that_a_table_compares_train_alike(networks, name):
    """In the same stages with the same numbers, each from its own first stage."""
    alike = set()
    for network in networks:
        stages = recipe(network, name).stages
        for stage in stages[:-1]:
            assert stage.network in registry.names()
            assert stage.network != stages[-1].network
        alike.add(tuple(dataclasses.replace(stage, network=None) for stage in stages))
    assert len(alike) == 1


def test_each_setting_of_table_4_begins_with_its_own_coarse_network():
    first = {name: recipe(name, "cross_entropy").stages[0].network for name in ("extremec3", "extremec3_reverse")}
    assert first == {"extremec3": "extremec3_coarse", "extremec3_reverse": "extremec3_reverse_coarse"}


def test_paper_is_what_is_printed_and_code_what_the_authors_ran():
    paper, code = (recipe("extremec3", name).stages for name in ("paper", "code"))
    assert [(s.batch_size, s.learning_rate, s.optimizer.weight_decay, s.loss.kernel) for s in paper] == [
        (60, 1e-3, 5e-4, 7)
    ] * 2
    assert [(s.batch_size, s.optimizer.weight_decay, s.loss.kernel) for s in code] == [(60, 2e-4, 5), (40, 2e-4, 15)]
    (paper,), code = (recipe("ccc1", name).stages for name in ("paper", "code"))
    assert (paper.learning_rate, paper.schedule.at) == (1e-4, (150 / 300, 200 / 300))
    assert [(s.batch_size, s.learning_rate, s.schedule.at) for s in code] == [
        (batch, 1e-3, (150 / 300, 250 / 300)) for batch in (24, 16)
    ]
    for name in ("eoam", "sinet", "sinet_cityscapes", "c3netv2"):  # nobody printed their numbers in the five papers
        assert "paper" not in registry.network(name).recipes
        assert next(iter(registry.network(name).recipes)) == "code"
    assert train.choose_recipe(train.TrainOptions("eoam", dataset="folder")) == recipe("eoam", "code")


def test_portraitnets_method_trains_enet_and_bisenet_alone():
    trained = {n for n in registry.names() if methods.AS_PORTRAITNET["paper"] in registry.network(n).recipes.values()}
    assert trained == {"enet", "bisenet"}


def test_sinet_is_no_network_of_the_five_papers():
    for name in ("sinet", "sinet_encoder", "sinet_cityscapes"):
        row = registry.network(name)
        assert row.paper == "Authors' code"
        assert row.reason.startswith("the later network of ExtremeC3Net's authors")


def test_networks_of_several_papers_have_a_recipe_of_each():
    assert list(registry.network("segnet").recipes)[:3] == ["c3", "lipnet", "improved_deeplabv3plus"]
    assert list(registry.network("fcn8s").recipes)[:2] == ["c3", "lipnet"]
    assert recipe("segnet", "lipnet") == recipe("lipnet")
    assert recipe("segnet", "improved_deeplabv3plus") == recipe("improved_deeplabv3plus")


# -- Measures ----------------------------------------------------------------------------------------------------------


def dataset_of(names, masks):
    return data.Dataset(
        "made", tuple(map(str, range(len(masks)))), lambda i: (np.zeros((*SIZE, 3), np.uint8), masks[i]), names
    )


def network_of(logits, names):
    colors = [[0, 0, 0] for _ in names]
    return models.Predictor("made", SIZE, lambda images: np.stack([logits] * len(images)), names, colors)


def test_the_mean_of_improved_deeplabv3plus_leaves_the_background_out():
    mask = np.repeat(np.array([0, 1, 2, 2], np.uint8), SIZE[1] // 4)[None].repeat(SIZE[0], 0)
    found = mask.copy()
    found[:20, :12] = 1  # half the background taken for the head
    logits = np.eye(3, dtype="float32")[found]
    dataset = dataset_of(("background", "head", "hands"), [mask])
    result = evaluate.evaluate(network_of(logits, dataset.class_names), dataset)
    iou = result.figures["class_iou"]
    assert iou == pytest.approx({"background": 0.5, "head": 2 / 3, "hands": 1})
    assert result.figures["mean_iou"] == pytest.approx((0.5 + 2 / 3 + 1) / 3)
    assert result.figures["mean_iou_without_background"] == pytest.approx((2 / 3 + 1) / 2)
    assert "without background" in evaluate._table(result)
    segnet = rows("Improved DeepLabv3+", "table 1")["SegNet"]
    parts = dict(zip("abcd", map(float, segnet.others), strict=True))
    assert evaluate.without_background({"background": 0.9, **parts}) == pytest.approx(float(segnet.accuracy), abs=5e-4)


def test_no_mean_without_background_where_there_is_none():
    mask = np.zeros(SIZE, np.uint8)
    mask[0] = 1
    dataset = dataset_of(("road", "sky", "tree"), [mask])
    logits = np.eye(3, dtype="float32")[mask]
    assert (
        "mean_iou_without_background" not in evaluate.evaluate(network_of(logits, dataset.class_names), dataset).figures
    )


CITYSCAPES = tuple(f"class {i}" for i in range(19))


def test_twenty_channels_are_measured_on_nineteen_classes():
    mask = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % 19
    logits = np.concatenate([np.eye(19, dtype="float32")[mask], np.full((*SIZE, 1), 9.0, "float32")], axis=-1)
    dataset = dataset_of(CITYSCAPES, [mask])
    result = evaluate.evaluate(network_of(logits, (*CITYSCAPES, "void")), dataset)
    assert result.figures["mean_iou"] == 1
    assert list(result.figures["class_iou"]) == list(CITYSCAPES)
    with pytest.raises(UserError, match="has 20 classes"):
        evaluate.evaluate(network_of(logits, (*CITYSCAPES, "unicorn")), dataset)


def test_a_network_with_void_trains_on_nineteen_classes_with_its_published_count():
    dataset = dataset_of(CITYSCAPES, [np.zeros(SIZE, np.uint8)])
    options = train.TrainOptions("ccc2", dataset="cityscapes")
    plan = train._plan(options, recipe("ccc2").changed({"input_size": (64,)}), dataset, dataset)
    model = plan.stages[0][1]
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == registry.network("ccc2").parameters
    assert plan.classes["names"] == [*CITYSCAPES, "void"]
    assert registry.network("ccc2").channels(11) == 11
    assert registry.network("lipnet").channels(19) == 19


def test_validation_does_not_count_void_as_a_class():
    mask = np.arange(SIZE[0] * SIZE[1]).reshape(1, *SIZE, 1) % 19
    logits = np.concatenate([np.eye(19)[mask[..., 0]], np.full((1, *SIZE, 1), 9.0)], axis=-1).astype("float32")

    class Model:
        predict_on_batch = staticmethod(lambda images: logits)

    assert loop.validate(Model, [(np.zeros((1, *SIZE, 3)), mask)], 19) == pytest.approx({"foreground": 1, "mean": 1})


def test_a_converted_checkpoint_knows_its_void(tmp_path):
    (tmp_path / "ccc2.keras").touch()
    assert models.classes_of(tmp_path / "ccc2.keras", 20, "ccc2")[0][-1] == "void"
    assert models.classes_of(tmp_path / "ccc2.keras", 11, "ccc2")[0][-1] == "class 10"
    assert models.classes_of(tmp_path / "ccc2.keras", 20, "lipnet")[0][-1] == "class 19"


def rings():
    """Two rings of foreground, the right one larger: labels of the whole discs, and of the rings."""
    discs, found = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    for center, radius in (((9, 20), 6), ((32, 20), 12)):
        cv2.circle(discs, center, radius, 1, -1)
        cv2.circle(found, center, radius, 1, 2)
    return discs, found


def test_the_poster_fills_the_largest_region_alone():
    discs, found = rings()
    all_filled, largest = (predict.fill_contours(found.astype("float32"), regions=name) for name in predict.FILLS)
    assert (all_filled[discs == 1] == 1).all()
    assert (largest[:, :21] == found[:, :21]).all()
    assert (largest[:, 21:] == all_filled[:, 21:]).all()


def test_evaluate_fills_contours_before_it_measures(tmp_path):
    discs, found = rings()
    dataset, network = dataset_of(PERSON, [discs]), network_of(20.0 * found[..., None] - 10, PERSON)
    ious = {
        fill: evaluate.evaluate(network, dataset, fill=fill).figures["foreground_iou"]
        for fill in (None, *predict.FILLS)
    }
    assert ious[None] < ious["largest"] < ious["all"]
    assert evaluate.evaluate(network, dataset, fill="largest").figures["fill_contours"] == "largest"
    several = dataset_of(CITYSCAPES, [discs])
    with pytest.raises(UserError, match="--fill-contours fills the foreground; made has 19 classes"):
        evaluate.evaluate(network_of(np.zeros((*SIZE, 19)), CITYSCAPES), several, fill="all")


def test_several_models_see_the_same_photos_on_one_sheet(tmp_path):
    for side in (16, 24):
        image = keras.Input((side, side, 3))
        keras.Model(image, keras.layers.Conv2D(1, 1)(image), name=f"side{side}").save(tmp_path / f"{side}.keras")
    arguments = [str(tmp_path / "16.keras"), str(tmp_path / "24.keras"), "--sheet", str(tmp_path / "sheet.png")]
    arguments += ["--sheet-count", "3", "--json", str(tmp_path / "figures.json")]
    root = make_folder(tmp_path / "photos", 20)
    assert evaluate.main([*arguments, "--data-dir", str(root), "--split", "all"]) == 0
    assert read_image(tmp_path / "sheet.png").shape == (3 * (224 + 20), 4 * 200, 3)
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["model"] == "side16"
    assert [each["model"] for each in found["others"]] == ["side24"]


# -- Tables ------------------------------------------------------------------------------------------------------------


def test_every_rows_recipe_is_one_of_its_network():
    for table in TABLES:
        for row in table.rows:
            assert len(row.others) == len(table.others), row.method
            assert not row.recipe or row.recipe in registry.network(row.network).recipes, row.method


def test_rows_that_share_a_network_differ_in_recipe_or_data():
    found = rows("ExtremeC3Net", "table 3").values()
    assert len({(row.recipe, row.others) for row in found}) == len(found) == 5
    loss = {row.method: type(recipe("extremec3", row.recipe).stages[-1].loss) for row in found}
    assert loss["+ Lovász"] is recipes.Lovasz
    assert loss["+ boundary"] is recipes.LovaszBoundary
    assert loss["Cross-entropy"] is recipes.CrossEntropy


def test_94_09_is_one_network_in_tables_3_4_and_5():
    first = rows("ExtremeC3Net", "table 3")["Cross-entropy"]
    same = rows("ExtremeC3Net", "table 4")["Advanced setting"]
    assert (first.network, first.recipe, first.accuracy) == (same.network, same.recipe, same.accuracy)
    assert figures("table 5")[-1]["experiment 1"] == first.accuracy


def test_the_poster_compares_multiply_accumulates_with_multiply_accumulates():
    found = rows("EOAM", "poster: EG1800").values()
    assert all(row.macs and not row.flops for row in found)


def test_the_posters_second_table_adds_up_and_begins_with_the_first():
    first = {(row.network, row.accuracy) for row in rows("EOAM", "poster: EG1800").values()}
    for row in rows("EOAM", "poster, second").values():
        with_eoam, gain = map(float, row.others)
        assert with_eoam - float(row.accuracy) == pytest.approx(gain, abs=1e-6)
        assert (row.network, row.accuracy) in first


def test_improved_deeplabv3plus_means_are_of_its_classes():
    for row in rows("Improved DeepLabv3+", "table 1").values():
        assert np.mean([float(part) for part in row.others]) == pytest.approx(float(row.accuracy), abs=1e-3)
    assert {table.accuracy for table in TABLES if table.paper == "Improved DeepLabv3+"} == {PARTS_IOU}


def test_top_5_is_above_top_1():
    found = rows("C3", "table 4").values()
    assert all(float(row.accuracy) < float(row.others[0]) < 100 for row in found)


def test_the_groups_of_eg1800_add_up_to_the_attributes_of_table_5():
    groups, attributes = figures("tables 6 and 7"), figures("table 5")
    assert [sum(int(group[split]) for group in groups) for split in ("training", "validation")] == [1312, 271]
    for row in attributes[:-1]:
        counted = sum(int(group["validation"]) for group in groups if group[row["attribute"]] == row["value"])
        assert counted == int(row["images"]), row
    generated = next(row for row in rows("ExtremeC3Net", "table 2").values() if "generated" in row.method)
    assert attributes[-1]["with generated photos"] == generated.accuracy


def test_the_modules_of_the_c3_papers_table_1_have_its_counts():
    reduction, branches, *_ = figures("table 1: an ESP")
    image = keras.Input((128, 128, 128))
    for module, name in ((_ccc, "CCC"), (espnet.esp_module, "ESP")):
        costs = complexity.by_layer(keras.Model(image, module(image, 128, residual=True, name="m")))
        parameters = dict.fromkeys(("reduce", "branches"), 0)
        for cost in costs:
            if cost.name == "m_reduce":
                parameters["reduce"] += cost.parameters
            elif cost.name.startswith(("m_c3", "m_d")):
                parameters["branches"] += cost.parameters
        assert f"{parameters['reduce']:,}" == reduction[f"{name} parameters"]
        # 28 channels of one ESP branch, which 128 needs, are in the paper's part but not in its total: 31,325 - 3,200.
        assert name == "ESP" or f"{parameters['branches']:,}" == branches["CCC parameters"]


def _ccc(x, filters, **options):
    return blocks.c3_module(x, filters, (2, 4, 8, 16), **options)


def test_summary_prints_all_tables_in_json():
    """Without counting: what `report.paper_tables` adds for tables about something else than networks."""
    for table in FIGURES:
        assert all(len(row) == len(table.columns) for row in table.rows), table.title
        json.dumps(table.rows)
    titles = [(table.paper, table.title) for table in itertools.chain(TABLES, FIGURES)]
    assert len(set(titles)) == len(titles)
    assert FOREGROUND_IOU != PARTS_IOU
