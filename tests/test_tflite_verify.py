"""Where a converted network loses, what other interpreters make of it, what is said of files that cannot be used."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from keras_models import blocks
from keras_models.command import UserError
from tests.small import photos
from tests.test_classes import make_scenes
from tflite import convert, graph, runtime, verify
from tflite.graph import rewrite
from tflite.measure import interpreters, layers
from tflite.quantize import converter

SIZE = (32, 32)


def network(classes=1):
    keras.utils.set_random_seed(3)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, -1)(image)
    for i in range(3):
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name=f"features_{i}")(x)
    return keras.Model(image, keras.layers.Conv2D(classes, 3, padding="same", name="head")(x))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with `net.keras`, a dataset `data/` of photos and masks, and `net.tflite`, calibrated on it."""
    place = tmp_path_factory.mktemp("verify")
    network().save(place / "net.keras")
    for folder in ("images", "masks"):
        (place / "data" / folder).mkdir(parents=True)
    for i, photo in enumerate(photos(20, SIZE)):
        cv2.imwrite(str(place / "data" / "images" / f"{i}.png"), photo[..., ::-1])
        cv2.imwrite(str(place / "data" / "masks" / f"{i}.png"), np.where(photo.mean(-1) > 128, 255, 0))
    convert.main([str(place / "net.keras"), "--calibration", str(place / "data"), "-o", str(place / "net.tflite")])
    return place


@pytest.fixture(scope="module")
def laid_out(place):
    """The graph that `net.tflite` was made from, but for the factors of its channels, and inputs."""
    images = photos(4, SIZE, seed=9)
    made = rewrite.rewrite(graph.read(keras.saving.load_model(place / "net.keras")), images)
    return made, list(converter.calibration_inputs(images))


def test_a_shipped_presets_spec_is_left_as_it_is(place, tmp_path, monkeypatch):
    preset = tmp_path / "presets" / "net"
    preset.mkdir(parents=True)
    for file in place.glob("net.*"):
        shutil.copy(file, preset)
    before = (preset / "net.json").read_bytes()
    arguments = [str(preset / "net.tflite"), "--against", str(preset / "net.keras"), "--data-dir", str(place / "data")]
    arguments += ["--dataset", "folder", "--limit", "100"]
    monkeypatch.setattr("keras_models.models._FOLDER", preset.parent)
    verify.main(arguments)
    assert (preset / "net.json").read_bytes() == before
    monkeypatch.undo()
    verify.main(arguments)
    assert "accuracy" in json.loads((preset / "net.json").read_text())


# -- layers ------------------------------------------------------------------------------------------------------------


def test_no_layer_of_a_good_conversion_loses_much(place, laid_out):
    rows = layers.measure(place / "net.tflite", *laid_out)
    assert {"features_0_relu", "features_2_relu", "head"} <= {row["layer"] for row in rows}
    assert max(row["loss"] for row in rows) < 0.1
    moves = [row["added"] for row in rows if row["operation"] == "CONCATENATION"]
    assert moves and max(moves) < 0.005  # of what only moves values


def test_the_layer_that_differs_comes_first(place, laid_out):
    made, inputs = laid_out
    wrong = made.copy()
    node = wrong.nodes["features_1"]
    noise = np.random.default_rng(0).normal(0, node["kernel"].std(), node["kernel"].shape)
    wrong.replace(node, node.but(kernel=node["kernel"] + noise))
    first = layers.measure(place / "net.tflite", wrong, inputs)[0]
    assert first["layer"] == "features_1_relu"
    assert first["added"] > 0.2


def test_of_a_layer_in_several_steps_the_last_is_compared(tmp_path):
    keras.utils.set_random_seed(3)
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, -1)(image)
    detail, prediction = (keras.layers.Conv2D(2, 3, padding="same", name=name)(x) for name in ("detail", "prediction"))
    gated = blocks.attention_gate(detail, prediction, name="gate")  # its doubt: a softmax, a maximum, a difference
    images = photos(4, SIZE)
    made = rewrite.rewrite(graph.read(keras.Model(image, gated)), images)
    (tmp_path / "gate.tflite").write_bytes(converter.to_tflite(made, "int8", images))
    rows = layers.measure(tmp_path / "gate.tflite", made, list(converter.calibration_inputs(images)))
    [doubt] = [row for row in rows if row["layer"] == "gate_doubt"]
    assert doubt["operation"] == "SUB"
    assert doubt["loss"] < 0.1


def test_values_beyond_the_calibrated_range_are_counted(laid_out, tmp_path):
    grey, noise = np.full((4, *SIZE, 3), 128, np.uint8), np.random.default_rng(0).choice([0, 255], (4, *SIZE, 3))
    (tmp_path / "grey.tflite").write_bytes(converter.to_tflite(laid_out[0], "int8", grey))
    inputs = list(converter.calibration_inputs(noise))
    clipped = {row["layer"]: row["clipped"] for row in layers.measure(tmp_path / "grey.tflite", laid_out[0], inputs)}
    assert clipped["features_0_relu"] > layers.CLIPPED


def test_a_file_of_another_network_has_no_layers_to_compare(place, laid_out):
    other = graph.Graph("other", [node.but(name=f"other_{node.name}") for node in laid_out[0]], "other_head")
    with pytest.raises(runtime.ModelError, match="made from another network"):
        layers.measure(place / "net.tflite", other, laid_out[1])


def rows(*added, clipped=0.0):
    return [{"layer": f"layer_{i}", "added": x, "loss": x, "clipped": clipped} for i, x in enumerate(added)]


@pytest.mark.parametrize(
    ("measured", "count", "loss", "expected"),
    [
        (rows(0.1, 0.1), 200, 0.1, ["nothing: "]),
        (rows(0.1, 0.1), 20, 0.1, ["more calibration photos: 20"]),
        (rows(0.1, 0.1, clipped=0.02), 200, 0.1, ["calibration photos more like these: 2 layers"]),
        (rows(0.5, 0.1, 0.1, 0.1, 0.1), 200, 2.0, ["--keep-float layer_0,layer_1,layer_2", "--quantize int16"]),
        (rows(*[0.1] * 20), 200, 2.0, ["--quantize qat", "--quantize int16"]),
    ],
)
def test_advice_follows_from_what_was_measured(measured, count, loss, expected):
    found = layers.advice(measured, {"count": count}, loss, limit=0.5)
    assert len(found) == len(expected)
    assert all(part in said for part, said in zip(expected, found, strict=True))


def test_verify_shows_the_layers_and_writes_them(place, capsys):
    arguments = [str(place / "net.tflite"), "--against", str(place / "net.keras"), "--data-dir", str(place / "data")]
    verify.main([*arguments, "--limit", "5", "--layers", "2", "--json", str(place / "found.json")])
    said = capsys.readouterr().out
    assert said.count(" CONV_2D ") == 2
    figures = json.loads((place / "found.json").read_text())
    assert len(figures["layers"]) > 4
    assert figures["advice"] == ["more calibration photos: 16 set its ranges; 50 or more are safer"]
    assert figures["metric"] == "foreground_iou"


def test_the_gate_of_several_classes_is_their_mean_iou(tmp_path):
    make_scenes(tmp_path / "scenes")
    network(classes=3).save(tmp_path / "net.keras")
    out = tmp_path / "net.tflite"
    convert.main([str(tmp_path / "net.keras"), "--quantize", "float32", "--output", "labels", "-o", str(out)])
    arguments = [str(out), "--against", str(tmp_path / "net.keras"), "--data-dir", str(tmp_path / "scenes")]
    assert verify.main([*arguments, "--json", str(tmp_path / "v.json"), "--worst", str(tmp_path / "worst.png")]) == 0
    figures = json.loads((tmp_path / "v.json").read_text())
    assert figures["metric"] == "mean_iou"
    assert figures["agreement"] == 1
    assert figures["largest_logit_error"] is None  # labels have no logits
    assert cv2.imread(str(tmp_path / "worst.png")) is not None


# -- interpreters ------------------------------------------------------------------------------------------------------


def test_interpreters_are_compared_with_the_first(place):
    kinds = [
        interpreters.Interpreter("ai-edge-litert", "ai_edge_litert.interpreter", delegates=d) for d in (True, False)
    ]
    images = photos(3, SIZE, seed=40)
    first, plain = interpreters.compare(place / "net.tflite", images, [kinds[0], kinds[1]])
    assert (first["differing_pixels"], first["largest_difference"]) == (0, 0)
    assert plain["interpreter"] == "ai-edge-litert without XNNPACK"
    assert plain["differing_pixels"] < 0.02
    step = runtime.Segmenter(place / "net.tflite").spec["output"]["scale"]
    assert plain["largest_difference"] < 8 * step
    assert "what the others are compared with" in interpreters.table([first, plain])


def test_an_interpreter_that_is_not_there_is_named(place):
    absent = interpreters.Interpreter("tflite-runtime", "no_such_module")
    with pytest.raises(runtime.ModelError, match=r"tflite-runtime with XNNPACK cannot run .*No TFLite interpreter"):
        interpreters.compare(place / "net.tflite", photos(1, SIZE), [absent])
    nothing = interpreters.Interpreter("tflite-runtime", "tflite_runtime.interpreter", ("/no/such/python",))
    with pytest.raises(runtime.ModelError, match="/no/such/python did not run"):
        interpreters.compare(place / "net.tflite", photos(1, SIZE), [nothing])


def test_a_python_may_be_named_by_a_relative_path(place, monkeypatch):
    monkeypatch.chdir(Path(sys.executable).parent)
    named = interpreters.installed(f"./{Path(sys.executable).name}")[-1]
    here = dataclasses.replace(named, package="ai-edge-litert", module="ai_edge_litert.interpreter")
    rows = interpreters.compare(place / "net.tflite", photos(1, SIZE), [here])
    assert rows[0]["interpreter"] == "ai-edge-litert without XNNPACK"


def test_tensorflows_own_interpreter_is_found(place, monkeypatch):
    """`tensorflow.lite` as a module is another than `tf.lite`, and has no Interpreter."""
    image = photos(1, SIZE, seed=40)[0]
    expected = runtime.Segmenter(place / "net.tflite").logits(image)
    monkeypatch.setattr(runtime, "INTERPRETERS", runtime.INTERPRETERS[2:])
    segmenter = runtime.Segmenter(place / "net.tflite", delegates=False)
    assert type(segmenter._interpreter).__module__.startswith("tensorflow")
    assert np.mean((segmenter.logits(image) > 0) == (expected > 0)) > 0.98


# -- files that cannot be used -----------------------------------------------------------------------------------------


def break_file(place, folder, fault):
    """A `.tflite` with its spec in `folder`, broken in one way."""
    content, spec = (place / "net.tflite").read_bytes(), json.loads((place / "net.json").read_text())
    if fault == "truncated":
        content = content[: len(content) // 2]
    elif fault == "empty":
        content = b""
    elif fault == "foreign":
        content = b"PK\x03\x04" + content
    elif fault == "another shape":
        spec["input"]["height"] = 64
    elif fault == "no spec":
        spec = ["no", "spec"]
    if isinstance(spec, dict):
        spec["sha256"] = "0" * 64 if fault == "another file's spec" else hashlib.sha256(content).hexdigest()
    (folder / "broken.tflite").write_bytes(content)
    (folder / "broken.json").write_text(json.dumps(spec))
    return folder / "broken.tflite"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("truncated", "is damaged"),
        ("empty", r"is no TFLite model \(0 bytes\)"),
        ("foreign", "is no TFLite model"),
        ("another file's spec", "the sha256 differs. Copy both again"),
        ("another shape", r"its spec says \[1, 64, 32, 3\] uint8. Convert the network again"),
        ("no spec", "is no spec of a model"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(place, tmp_path, fault, message):
    model = break_file(place, tmp_path, fault)
    with pytest.raises(runtime.ModelError, match=message):
        runtime.Segmenter(model)
    with pytest.raises(UserError, match=message):
        verify.main([str(model), "--against", str(place / "net.keras"), "--data-dir", str(place / "data")])


def test_a_network_that_is_no_segmentation_is_refused(tmp_path):
    from tflite.graph import Graph, Node

    image = Node("image", "input", (), (8, 8, 3))
    mean = Node("mean", "mean", ("image",), (3,), {"flat": True})
    (tmp_path / "classes.tflite").write_bytes(converter.to_tflite(Graph("classes", [image, mean], "mean"), "float32"))
    with pytest.raises(runtime.ModelError, match=r"the output shape \[1, 3\]; expected a static"):
        runtime.Segmenter(tmp_path / "classes.tflite")


def test_a_command_ends_with_2_and_one_line(place, tmp_path):
    model = break_file(place, tmp_path, "truncated")
    before = sorted(tmp_path.iterdir())
    arguments = ["--against", str(place / "net.keras"), "--data-dir", str(place / "data"), "--json", "found.json"]
    done = subprocess.run(
        [sys.executable, "-m", "tflite.verify", str(model), *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert "error: " in done.stderr and "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.Conv2D(1, 1), "needs a fixed input size"),
        (keras.layers.UpSampling2D(interpolation="bicubic", name="odd"), "'odd' .* needs TensorFlow's ResizeBicubic"),
    ],
)
def test_networks_that_cannot_be_converted_leave_nothing(layer, message, tmp_path):
    image = keras.Input((None, None, 3) if isinstance(layer, keras.layers.Conv2D) else (8, 8, 3))
    keras.Model(image, layer(image)).save(tmp_path / "odd.keras")
    with pytest.raises(UserError, match=message):
        convert.main([str(tmp_path / "odd.keras"), "--quantize", "float32", "-o", str(tmp_path / "odd.tflite")])
    assert [path.name for path in tmp_path.iterdir()] == ["odd.keras"]


def test_a_calibration_photo_that_cannot_be_read_is_named(place, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "half.png").write_bytes((place / "data" / "images" / "1.png").read_bytes()[:60])
    out = tmp_path / "out.tflite"
    with pytest.raises(UserError, match=r"half\.png"):
        convert.main([str(place / "net.keras"), "--calibration", str(tmp_path / "photos"), "-o", str(out)])
    assert not out.exists()


def test_the_spec_lists_every_calibration_photo(place):
    listed = json.loads((place / "net.json").read_text())["calibration"]
    assert len(listed["names"]) == listed["count"] == 16  # four of every five of 20
    assert listed["sha256"] == hashlib.sha256("\n".join(listed["names"]).encode()).hexdigest()
