"""What every registered network promises: the counts of its table row, its output at any size and number of classes."""

import collections
import json
import re
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest

import keras_models
from keras_models import blocks, registry, summary
from keras_models.networks import eoam
from keras_models.papers import plot, report, tables
from tests import small
from tests.shared import SHARED, needs_shared

NAMES = keras_models.names()
SEGMENTERS = [name for name in NAMES if registry.network(name).task == "segmentation"]
# Stages of a training predict at a part of the resolution.
COARSE = {name: 4 if name.endswith("_coarse") else 8 for name in NAMES if name.endswith(("_coarse", "_encoder"))}

# The reference's name of each measured network, with what differs from the registered defaults.
REFERENCE = {
    "ExtremeC3Net": ("extremec3", {}),
    "ExtremeC3Net_2class": ("extremec3", {"classes": 2}),
    "ExtremeC3Net_CoarseNet_stage1": ("extremec3_coarse", {}),
    "SINet_portrait": ("sinet", {}),
    "SINet_portrait_1ch": ("sinet", {"classes": 1}),
    "SINet_portrait_encoder": ("sinet_encoder", {}),
    "SINet_cityscapes": ("sinet_cityscapes", {}),
    "PortraitNet": ("portraitnet", {}),
    "ENet": ("enet", {}),
    "ENet_city20": ("enet", {"classes": 20, "input_size": (512, 1024)}),
    "BiSeNet": ("bisenet", {}),
    "ESPNet_portrait(ESPNet-C)": ("espnet_c", {}),
    "ESPNet_portrait_2class": ("espnet_c", {"classes": 2}),
    "ESPNet_city20": ("espnet", {}),
    "ESPNet_city19": ("espnet", {"classes": 19}),
    "ESPNet_tiny_city20": ("espnet_tiny", {}),
    "ESPNet_tiny_city19": ("espnet_tiny", {"classes": 19}),
    "DS-ESPNet_portrait_nearest_d1ds": ("ds_espnet", {}),
    "CCC1_C3Net": ("ccc1", {}),
    "CCC2_C3Net": ("ccc2", {}),
    "C3NetV2": ("c3netv2", {}),
    "CCC-ESPNet": ("ccc_espnet", {}),
    "Abl2_DS-ESPNet": ("ds_espnet_decoder", {}),
    "Abl3_structureA": ("ccc_structure_a", {}),
    "Abl4_structureA_p4q11": ("ccc_structure_a_deep", {}),
    "Abl5_structureB": ("ccc_structure_b", {}),
    "Abl6_dwAsym": ("ccc_structure_c_linear", {}),
    "Abl7_dwAsymNL": ("ccc1", {}),
    "ImageNet_DRN-A-34": ("drn_a_34_imagenet", {}),
    "ImageNet_DRN-A-50": ("drn_a_50_imagenet", {}),
    "ImageNet_DRN-C-26": ("drn_c_26_imagenet", {}),
    "ImageNet_DRN-C-42": ("drn_c_42_imagenet", {}),
    "ImageNet_CCC-DRN-A-50": ("ccc_drn_a_50_imagenet", {}),
    "ImageNet_CCC-DRN-C-26": ("ccc_drn_c_26_imagenet", {}),
    "ImageNet_CCC-DRN-C-28*": ("ccc_drn_c_28_imagenet", {}),
    "ImageNet_CCC-DRN-C-42": ("ccc_drn_c_42_imagenet", {}),
    "ImageNet_CCC-DRN-C-44*": ("ccc_drn_c_44_imagenet", {}),
    "DRN-A50_seg19": ("drn_a_50", {}),
    "DRN-C26_seg19": ("drn_c_26", {}),
    "CCC-DRN-A50_seg19": ("ccc_drn_a_50", {}),
    "CCC-DRN-C26_seg19": ("ccc_drn_c_26", {}),
    "ERFNet_20": ("erfnet", {}),
    "CCC-ERFNet_20": ("ccc_erfnet", {}),
    "ContextNet12": ("contextnet12", {}),
    "ContextNet12(0.25)": ("contextnet12_quarter", {}),
    "ESPNetv2_seg_s2.0": ("espnetv2", {}),
    "ESPNetv2_seg_s1.5": ("espnetv2_15", {}),
    "EOAM_ESPS_C3_p1q1": ("eoam", {}),
    "EOAM_ESPS_C2_p1q1": ("eoam", {"classes": 2}),
    "LIP-Net_candidate": ("lipnet", {}),
    "DeepLabv3+_xception_sep_c5": ("deeplabv3plus", {}),
    "DeepLabv3+_xception_sep_c19_city": ("deeplabv3plus", {"classes": 19, "input_size": (512, 1024)}),
    "DeepLabv3+_resnet101_sep_c5": ("deeplabv3plus_resnet101", {}),
    "ImprovedDeepLabv3+_xception_c5": ("improved_deeplabv3plus", {}),
    "ImprovedDeepLabv3+_xception_nose_c5": ("improved_deeplabv3plus_without_se", {}),
    "ImprovedDeepLabv3+_xception_origASPP_se_c5": ("improved_deeplabv3plus_original_aspp", {}),
    "ImprovedDeepLabv3+_resnet101_c5": ("improved_deeplabv3plus_resnet101", {}),
    "SegNet_c20": ("segnet", {}),
    "SegNet_c5": ("segnet", {"classes": 5, "input_size": (512, 512)}),
    "UNet_c5": ("unet", {}),
    "FCN8s_c19": ("fcn8s", {}),
    "FCN8s_c20": ("fcn8s", {"classes": 20, "input_size": (512, 512)}),
}


@pytest.mark.parametrize("name", NAMES)
def test_counts_and_output_are_those_of_the_table(name):
    row = registry.network(name)
    counted, output_shape = report.measure(name)
    assert (counted.parameters, counted.macs) == (row.parameters, row.macs)
    assert row.status in ("exact", "near", "not reproducible", "own")
    assert row.reason or row.status in ("exact", "own")
    if row.task == "classification":
        assert output_shape == (None, row.classes)
    else:
        size = tuple(side // COARSE.get(name, 1) for side in row.input_size)
        assert output_shape == (None, *size, row.classes)


@needs_shared
@pytest.mark.parametrize("key", REFERENCE)
def test_counts_are_those_measured_on_the_authors_code(key):
    name, options = REFERENCE[key]
    measured = json.loads((SHARED / "reference" / "counts.json").read_text())[key]
    # The row of the registered defaults has been compared with the network above.
    counted = report.measure(name, **options)[0] if options else registry.network(name)
    assert (counted.parameters, counted.macs) == (measured["params"], measured["macs_conv_deconv_linear"])


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_size_that_the_strides_do_not_divide_is_refused(name):
    multiple = registry.network(name).multiple
    with pytest.raises(
        ValueError, match=f"multiples of {multiple}; the nearest that works is {3 * multiple}x{multiple}"
    ):
        keras_models.build(name, input_size=(3 * multiple + 1, multiple))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", SEGMENTERS)
def test_classes_and_size_can_be_chosen(name, classes):
    size = small.size_of(name)
    _, output_shape = report.measure(name, classes=classes, input_size=size)
    assert output_shape == (None, *(side // COARSE.get(name, 1) for side in size), classes)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", ["espnet", "ccc2", "sinet"])
def test_fewer_classes_than_branches(name, classes):
    size = (registry.network(name).multiple, 2 * registry.network(name).multiple)
    model = keras_models.build(name, classes=classes, input_size=size)
    logits = keras.ops.convert_to_numpy(model(np.zeros((1, *size, 3), "float32")))
    assert logits.shape == (1, *size, classes)
    assert np.isfinite(logits).all()


def test_importing_builds_nothing():
    program = """
import keras
def refuse(*_, **__):
    raise AssertionError("built at import")
keras.layers.Layer.__init__ = refuse
import keras_models
assert len(keras_models.names()) > 50
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_papers_tables_name_networks_and_print_figures():
    for table in tables.TABLES:
        for row in table.rows:
            assert row.network in NAMES
            for printed in (row.parameters, row.flops, row.macs):
                assert re.fullmatch(r"(\d+(\.\d+)?[KMG])?", printed), row.method


def test_rebuilt_means_what_the_papers_print():
    """`status` by every figure in the tables of the network's paper: `exact`, `near`, or `not reproducible`."""
    marks = collections.defaultdict(set)
    for table in tables.TABLES:
        for row in table.rows:
            if table.paper == registry.network(row.network).paper and not row.options:
                marks[row.network].update(report.marks_of(table, row)[1])
    for name in NAMES:
        status, found = registry.network(name).status, marks[name] - {"", "!"}
        if found and report.verdict(found, "exact") != "exact":
            assert status == report.verdict(found, "exact"), name
        else:
            assert status != "not reproducible", name
    counted = collections.Counter(registry.network(name).status for name in NAMES)
    del counted["own"]
    assert counted == {"exact": 31, "near": 27, "not reproducible": 12}  # what the page of networks says


def test_agreement_knows_how_many_digits_are_printed():
    assert [report.agreement("37.7K", value) for value in (37_738, 37_650, 37_800, 40_000)] == ["=", "=", "~", "x"]
    assert report.agreement("0.021M", 21_895) == "="  # cut, not rounded
    assert report.agreement("", 5) == ""


def test_summary_of_one_network_adds_up(tmp_path, capsys):
    summary.main(["sinet", "--json", str(tmp_path / "sinet.json"), "--markdown", str(tmp_path / "sinet.md")])
    (table,) = json.loads((tmp_path / "sinet.json").read_text())
    *rows, total = [[int(cell.replace(",", "")) for cell in row[3:]] for row in table["rows"]]
    assert [sum(column) for column in zip(*rows, strict=True)] == total
    assert total[0] == registry.network("sinet").parameters
    assert "level1_conv" in capsys.readouterr().out
    assert "| level1_conv | Conv2D | 112x112x12 |" in (tmp_path / "sinet.md").read_text()
    with pytest.raises(ValueError, match="Unknown network"):
        summary.main(["sinett"])


def test_plot_tells_measured_from_published(tmp_path):
    with pytest.raises(ValueError, match="No accuracy measured on EG1800"):
        summary.main(["--plot", str(tmp_path / "x.png"), "--results", str(tmp_path)])
    result = {"title": "mine", "parameters": 37_738, "foreground_iou": 0.948, "data": "eg1800 test"}
    (tmp_path / "mine.json").write_text(json.dumps(result))
    (tmp_path / "streets.json").write_text(json.dumps(result | {"data": "camvid test"}))
    assert plot.measured(str(tmp_path)) == [plot.Point("mine", 37_738, 0.948, True)]
    summary.main(["--plot", str(tmp_path / "plot.png"), "--results", str(tmp_path)])
    measured = tuple(int(plot.MEASURED[i : i + 2], 16) for i in (1, 3, 5))
    drawn = cv2.imread(str(tmp_path / "plot.png"))[..., ::-1]
    assert (drawn == measured).all(axis=-1).sum() > 60


def test_plot_has_the_papers_figures_and_its_labels_do_not_overlap():
    points = {(point.title, f"{point.foreground_iou:.4f}"): point.parameters for point in plot.published()}
    assert points["PortraitNet", "0.9599"] == 2_080_000
    assert points["BiSeNet", "0.9491"] == 12_400_000  # the poster's 0.124M is a misprint
    assert points["EOAM", "0.9601"] == 21_000
    figure = plot.draw(plot.published())
    renderer = figure.canvas.get_renderer()
    labels = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(labels) == len(points)
    boxes = [text.get_window_extent(renderer).extents for text in labels]
    assert not any(plot.overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_every_network_has_a_recipe_of_its_paper_whose_stages_can_be_built():
    for name in NAMES:
        row = registry.network(name)
        recipes = row.recipes
        assert set(recipes) >= ({"pocket", "drawings"} if row.task == "segmentation" else {"imagenet"})
        assert next(iter(recipes)) != "pocket" or row.status == "own" or row.task == "classification"
        for recipe in recipes.values():
            assert recipe.stages[-1].network is None
            for stage in recipe.stages:
                registry.network(stage.network or name).check_input_size(stage.input_size or row.input_size)


@pytest.mark.parametrize("structure", ["A", "B", "C", "C-"])
def test_a_c3_block_replaces_a_dilated_convolution(structure):
    image = keras.Input((32, 32, 8))
    model = keras.Model(image, blocks.c3(image, 12, 4, structure, name="block"))
    assert model.output_shape == (None, 32, 32, 12)
    point = np.zeros((1, 32, 32, 8), "float32")
    point[0, 16, 16] = 1
    reached = np.flatnonzero(keras.ops.convert_to_numpy(model(point))[0].any(axis=(0, 2)))
    # Without concentration the dilated convolution sees every fourth pixel, with it all of them.
    assert reached.tolist() == ([12, 16, 20] if structure == "A" else list(range(9, 24)))
    names = [layer.name for layer in model.layers]
    assert ("block_vertical" in names) == structure.startswith("C")
    assert ("block_vertical_prelu" in names) == (structure == "C")
    with pytest.raises(ValueError, match="structure is A, B, C or C-"):
        blocks.c3(image, 12, 4, "D", name="other")


def test_max_unpooling_puts_values_where_the_first_maximum_was():
    source = np.zeros((1, 4, 4, 1), "float32")
    source[0, 1, 0, 0] = source[0, 2, 3, 0] = 5
    values = np.arange(1, 5, dtype="float32").reshape(1, 2, 2, 1)
    result = keras.ops.convert_to_numpy(blocks.MaxUnpooling()([values, source]))[0, :, :, 0]
    assert result.tolist() == [[0, 0, 2, 0], [1, 0, 0, 0], [3, 0, 0, 4], [0, 0, 0, 0]]


@pytest.mark.parametrize("shuffle", [False, True])
def test_grouped_pointwise_is_the_grouped_convolution(shuffle):
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 8)).astype("float32")
    layer = blocks.GroupedPointwise(12, groups=2, shuffle=shuffle, bias_initializer="normal")
    y = keras.ops.convert_to_numpy(layer(x))
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in (layer.kernel[0, 0], layer.bias))
    groups = [x[..., 4 * k : 4 * k + 4] @ kernel[:, 6 * k : 6 * k + 6] + bias[6 * k : 6 * k + 6] for k in (0, 1)]
    expected = np.stack(groups, axis=-1).reshape(2, 3, 3, 12) if shuffle else np.concatenate(groups, axis=-1)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_a_strided_dilated_depthwise_convolution_skips_pixels_of_the_dilated_one():
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
    strided = blocks.StridedDilatedDepthwiseConv2D(3, dilation_rate=3, strides=2, use_bias=False)
    dilated = keras.layers.DepthwiseConv2D(3, dilation_rate=3, use_bias=False)
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    y = strided(padded)
    dilated.build(padded.shape)
    dilated.set_weights(strided.get_weights())
    expected = keras.ops.convert_to_numpy(dilated(padded))[:, ::2, ::2]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), expected, atol=1e-5)
    assert strided.compute_output_shape(padded.shape) == tuple(y.shape)


@pytest.mark.parametrize("classes", [1, 3])
def test_doubt_is_what_is_missing_to_certainty(classes):
    logits = np.zeros((1, 1, 2, classes), "float32")
    logits[0, 0, 1, 0] = 50
    doubt = keras.ops.convert_to_numpy(blocks.Doubt()(logits))[0, 0, :, 0]
    np.testing.assert_allclose(doubt, [1 - 1 / max(classes, 2), 0], atol=1e-6)


def test_the_attention_of_eoam_attaches_to_another_networks_fusion():
    low, prediction = keras.Input((16, 16, 24)), keras.Input((16, 16, 2))
    model = keras.Model([low, prediction], eoam.edge_optimized_attention(low, prediction, name="eoam"))
    certain = np.zeros((1, 16, 16, 2), "float32")
    certain[..., 1] = 100
    out = keras.ops.convert_to_numpy(model([np.ones((1, 16, 16, 24), "float32"), certain]))
    np.testing.assert_allclose(out, certain, atol=1e-5)  # where the prediction is sure, detail changes nothing
    out = keras.ops.convert_to_numpy(model([np.ones((1, 16, 16, 24), "float32"), np.zeros_like(certain)]))
    assert (out != 0).any()
