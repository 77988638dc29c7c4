"""What inspect says of small files whose every operation is known, and of the preset: counts, reasons, memory, page."""

import dataclasses
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from keras_models import __main__ as pocketseg
from keras_models import command, evaluate
from tests import small
from tflite import benchmark, graph, inspect, runtime
from tflite.measure import contents, dataflow, delegates, page
from tflite.quantize import converter

ROOT = Path(__file__).parents[1]
PRESET = ROOT / "keras_models" / "presets" / "extremec3-eg1800" / "extremec3-eg1800-int8.tflite"
MODES = ["int8", "float32", "float16", "dynamic"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network that is not rewritten, so that its int8 form holds operations that XNNPACK leaves; one file a mode."""
    place = tmp_path_factory.mktemp("files")
    layers = keras.layers
    x = image = keras.Input((32, 32, 3), batch_size=1)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones", name="bend")(x)
    wide = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", name="wide")(x)
    pooled = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(pooled)
    x = layers.Concatenate(name="join")([wide, x])
    x = layers.Conv2D(2, 1, name="classes")(x)
    network = graph.read(keras.Model(image, layers.Softmax(name="answer")(x)))
    for mode in MODES:
        images = small.photos(4, (32, 32)) if mode == "int8" else None
        (place / f"{mode}.tflite").write_bytes(converter.to_tflite(network, mode, images))
    return place


def operation(found, layer):
    """The operation that computes a layer; one that unpacks its weights comes before it."""
    return [operation for operation in found["operations"] if operation["layer"] == layer][-1]


def _facts(name, types=("int8", "int8"), shapes=((1, 8, 8, 4), (1, 8, 8, 4)), weight_types=(), **attributes):
    return {
        "name": name, "types": types, "shapes": shapes, "weight_types": weight_types, "attributes": attributes,
    }  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_weights_and_multiply_accumulates_are_the_networks(files, mode):
    found = inspect.inspect(files / f"{mode}.tflite")
    stem, wide, classes = (operation(found, layer) for layer in ("stem", "wide", "classes"))
    assert [op["parameters"] for op in (stem, wide, classes)] == [3 * 9 * 8 + 8, 9 * 8 + 8, 16 * 2 + 2]
    assert [op["macs"] for op in (stem, wide, classes)] == [16 * 16 * 8 * 27, 16 * 16 * 8 * 9, 16 * 16 * 2 * 16]
    assert found["macs"] == sum(op["macs"] for op in (stem, wide, classes))
    assert operation(found, "bend")["parameters"] == 8
    assert stem["attributes"] == {"stride": [2, 2], "padding": "SAME"}
    assert wide["attributes"]["dilation"] == [2, 2]
    assert stem["index"] in operation(found, "bend")["sources"]


@pytest.mark.parametrize("name", [*MODES, PRESET])
def test_the_rules_of_xnnpack_say_what_is_measured(files, name):
    found = inspect.inspect(name if name is PRESET else files / f"{name}.tflite")
    for op in found["operations"]:
        reason = delegates.refused_by_xnnpack(op)
        assert (reason is None) == op["delegated"], (op["name"], reason)
        assert ("XNNPACK" in op["refused"]) != op["delegated"]
    taken = {op["index"] for op in found["operations"] if op["delegated"]}
    assert len(taken) == found["delegated"] == found["delegates"]["XNNPACK"]["takes"]
    assert delegates.partitions(found["operations"], taken) == found["partitions"]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (_facts("CONCATENATION", types=("int8",) * 7), "five"),
        (_facts("CONCATENATION", types=("int8",) * 6), None),
        (_facts("STRIDED_SLICE", stride=[1, 2, 2, 1]), "gaps"),
        (_facts("STRIDED_SLICE", stride=[1, 1, 1, 1]), None),
        (_facts("ADD", types=("int16", "int16")), "not int16"),
        (_facts("ARG_MAX"), "no such operation"),
        (_facts("ADD", activation="TANH"), "activation"),
        (_facts("DEPTHWISE_CONV_2D", types=("float32",) * 2, weight_types=("int8",)), "8-bit weights"),
    ],
)
def test_rules_of_xnnpack(facts, reason):
    said = delegates.refused_by_xnnpack(facts)
    assert said is None if reason is None else reason in said


def test_int8_leaves_the_operations_that_are_known_to_stay(files):
    found = inspect.inspect(files / "int8.tflite")
    left = sorted(op["name"] for op in found["operations"] if not op["delegated"])
    assert left == ["AVERAGE_POOL_2D", "PRELU", "QUANTIZE", "QUANTIZE", "SOFTMAX"]
    assert found["float_ops"] == 0 and found["float_islands"] == []
    assert found["operations"][0]["quantization"] == {"scale": pytest.approx(1 / 255), "zero_point": -128}


def test_peak_memory_is_that_of_the_values_alive_together(files):
    found = inspect.inspect(files / "float32.tflite")
    join = operation(found, "join")
    assert join["live_bytes"] == (16 * 16 * 8 * 2 + 16 * 16 * 16) * 4
    assert found["peak_bytes"] == join["live_bytes"] and found["peak_at"] == join["index"]
    assert found["peak_bytes"] < found["activation_bytes"]
    # Where the branches part, the stem's output waits for the second one.
    pool = operation(found, "pool")
    assert pool["live_bytes"] == (16 * 16 * 8 + 8 * 8 * 8) * 4
    # Weights that are stored as float16 are no values.
    assert inspect.inspect(files / "float16.tflite")["peak_bytes"] == found["peak_bytes"]


def test_float_islands_are_named():
    def op(index, name, sources, is_float):
        return SimpleNamespace(index=index, name=name, layer=f"l{index}", sources=sources, float_output=is_float)

    found = dataflow.float_islands(
        [
            op(0, "CONV_2D", (-1,), False),
            op(1, "DEQUANTIZE", (0,), True),
            op(2, "DEQUANTIZE", (0,), True),
            op(3, "ADD", (1, 2), True),
            op(4, "QUANTIZE", (3,), False),
            op(5, "DEQUANTIZE", (4,), True),
            op(6, "PRELU", (5,), True),
            op(7, "QUANTIZE", (6,), False),
        ]
    )
    assert found == [
        {"begins": "DEQUANTIZE l1", "ends": "ADD l3", "operations": [1, 2, 3]},
        {"begins": "DEQUANTIZE l5", "ends": "PRELU l6", "operations": [5, 6]},
    ]


@pytest.mark.parametrize(
    ("who", "facts", "reason"),
    [
        ("GPU delegate", _facts("ARG_MAX"), "not among"),
        ("GPU delegate", _facts("RESHAPE", shapes=((1, 8, 8, 4), (2, 4, 8, 4))), "batch"),
        ("GPU delegate", _facts("ADD", shapes=((1, 2, 2, 2, 2),) * 2), "4 dimensions"),
        ("GPU delegate", _facts("ADD", types=("int32",)), "not int32"),
        ("GPU delegate", _facts("FlexErf"), "TensorFlow"),
        ("GPU delegate", _facts("ADD", shapes=((1, -1, 8, 4),)), "not known before the run"),
        ("GPU delegate", _facts("PRELU", types=("float32",)), None),
        ("int8 accelerator (NPU)", _facts("CONV_2D", types=("float32",)), "8-bit integers only"),
        ("int8 accelerator (NPU)", _facts("ADD", types=("int16",)), "not int16"),
        ("int8 accelerator (NPU)", _facts("PRELU"), None),
        ("Edge TPU", _facts("DEPTHWISE_CONV_2D", dilation=[2, 2]), "dilated depthwise"),
        ("Edge TPU", _facts("DEPTHWISE_CONV_2D"), None),
        ("Edge TPU", _facts("CONV_2D", dilation=[2, 1]), "both directions"),
        ("Edge TPU", _facts("ADD", shapes=((2, 8, 8, 4),)), "three innermost"),
        ("Edge TPU", _facts("CONCATENATION", activation="RELU"), "fused"),
        ("Edge TPU", _facts("SOFTMAX"), "one dimension"),
        ("Edge TPU", _facts("SOFTMAX", shapes=((1, 21),)), None),
    ],
)
def test_rules_of_accelerators(who, facts, reason):
    said = delegates.RULES[who](facts)
    assert said is None if reason is None else reason in said


@pytest.mark.parametrize(
    ("taken", "pieces"), [({0, 1, 2, 3, 4}, 1), ({0, 1, 3, 4}, 2), ({0, 2, 4}, 2), ({1, 4}, 2), (set(), 0)]
)
def test_partitions_of_a_graph_with_a_side_branch(taken, pieces):
    """0 - 1 - 2 - 4 with 3 beside them on 0: what is ready joins the piece that runs."""
    chain = [(0, (-1,)), (1, (0,)), (2, (1,)), (3, (0,)), (4, (2, 3))]
    operations = [{"index": index, "sources": sources} for index, sources in chain]
    assert delegates.partitions(operations, taken) == pieces


def test_columns_of_the_drawing_do_not_cross_a_node():
    found = inspect.inspect(PRESET)
    operations = found["operations"]
    place = page.lanes(operations, len(operations))
    for op in operations:
        for source in op["sources"]:
            # The value waits in its column: no other operation may stand there meanwhile.
            between = range(source + 1, op["index"])
            assert all(place[other] != place[source] for other in between), (source, op["index"])
    assert max(place.values()) < 10


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.nodes, self.rows, self.links = [], 0, 0, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.nodes += "data-row" in attributes
        self.rows += tag == "tr"
        self.links += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """Closes itself."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("mode", ["int8", "float16"])
def test_the_page_is_whole_and_needs_no_network(files, mode, capsys):
    out = files / f"{mode}.html"
    assert inspect.main([str(files / f"{mode}.tflite"), "--html", str(out), "--list"]) == 0
    assert "stem: " in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    reader = _Reader()
    reader.feed(text.replace("<!doctype html>", ""))
    found = inspect.inspect(files / f"{mode}.tflite")
    unpacking = found["ops"].get("DEQUANTIZE", 0)
    assert reader.open == [] and reader.links == [] and "http" not in text and "url(" not in text
    assert reader.nodes == found["total"] - unpacking
    assert reader.rows == found["total"] + 1
    assert "kernel 2x2" in text


def test_names_from_the_file_cannot_break_the_page(files):
    found = inspect.inspect(files / "float32.tflite")
    found["operations"][0]["layer"] = "<script>alert(1)</script>"
    assert "<script>alert" not in page.render(found)


def test_times_are_shown_where_there_are_some(files):
    out = files / "timed.html"
    json_file = files / "timed.json"
    inspect.main([str(files / "int8.tflite"), "--profile", "--html", str(out), "--json", str(json_file)])
    found = json.loads(json_file.read_text())
    assert all(op["ms"] >= 0 for op in found["operations"]) and sum(op["ms"] for op in found["operations"]) > 0
    assert "share of the time" in out.read_text()


def test_the_promised_figures(files, tmp_path):
    out = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "tflite.inspect", files / "int8.tflite", "--json", out],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert {"ops", "float_ops", "space_to_batch", "delegated", "total", "partitions"} <= set(found)
    assert found["total"] == sum(found["ops"].values()) == len(found["operations"])
    fields = {field.name for field in dataclasses.fields(contents.Operation)}
    assert all(set(op) == fields for op in found["operations"])


def test_the_preset_is_all_int8_in_one_piece():
    found = inspect.inspect(PRESET)
    assert found["float_ops"] == found["space_to_batch"] == 0 and found["partitions"] == 1
    assert found["delegated"] == found["total"]
    (left,) = found["delegates"]["int8 accelerator (NPU)"]["leaves"].values()
    assert left == {"DEQUANTIZE": 2, "QUANTIZE": 2}, "uint8 to int8 and back, which --target accelerator keeps integer"


def test_the_metadata_is_one_line(files):
    found = inspect.inspect(PRESET)
    spec = json.loads(PRESET.with_suffix(".json").read_text(encoding="utf-8"))
    assert found["metadata"]["name"] == spec["name"] and found["metadata"]["labels"]
    assert f"metadata: {spec['name']}" in inspect.report(found)
    without = inspect.inspect(files / "float32.tflite")
    assert without["metadata"] is None and "metadata" not in inspect.report(without)


def test_a_foreign_file_is_one_error(tmp_path):
    (tmp_path / "a.tflite").write_text("no model")
    with pytest.raises(runtime.ModelError, match="no TFLite model"):
        inspect.inspect(tmp_path / "a.tflite")


@pytest.mark.parametrize("verb", ["inspect", "benchmark"])
def test_a_missing_file_is_one_line_of_pocketseg_too(verb, capsys):
    """It ended in a traceback."""
    with pytest.raises(SystemExit) as stopped:
        command.run(lambda: pocketseg.main([verb, "nowhere.tflite"]))
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: Cannot read nowhere.tflite: No such file or directory.\n"


def test_a_shape_that_is_not_known_is_shown(tmp_path):
    import tensorflow as tf

    function = tf.function(lambda x: tf.nn.relu(x) + 1.0, input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    (tmp_path / "any.tflite").write_bytes(converter.convert())
    found = inspect.inspect(tmp_path / "any.tflite")
    assert found["input"] == "float32 ?x8x8x3"
    assert found["delegated"] == found["total"]
    assert "not known before the run" in next(iter(found["delegates"]["GPU delegate"]["leaves"]))


@pytest.mark.parametrize("main", [inspect.main, benchmark.main, evaluate.main])
def test_figures_do_not_take_the_place_of_a_spec(files, main):
    with pytest.raises(ValueError, match="place of"):
        main([str(files / "int8.tflite"), "--json", str(files / "int8.json")])
    assert not (files / "int8.json").exists()
