"""From a trained network to files that a phone runs, and the gate that compares them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from keras_models import data
from keras_models.command import UserError
from keras_models.data import drawings
from tests import small
from tests.small import SIZE, photos
from tflite import convert, inspect, runtime, verify
from tflite.graph import read, rewrite
from tflite.quantize import converter, ends, repair

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the network `net.keras`, photos in `photos/`, and the network as `int8.tflite`."""
    place = tmp_path_factory.mktemp("convert")
    small.extremec3().save(place / "net.keras")
    for folder in ("images", "masks"):
        (place / "photos" / folder).mkdir(parents=True)
    for i in range(70):
        image, labels = drawings.draw(i)
        cv2.imwrite(str(place / "photos" / "images" / f"{i}.png"), cv2.resize(image, (80, 100))[..., ::-1])
        cv2.imwrite(str(place / "photos" / "masks" / f"{i}.png"), cv2.resize(labels * 255, (80, 100)))
    assert convert.main([*net(place), "--calibration", str(place / "photos"), "-o", str(place / "int8.tflite")]) == 0
    return place


def net(place):
    return [str(place / "net.keras")]


@pytest.fixture(scope="module")
def expected(place):
    """Images and the float network's logits of them."""
    images = photos(4, SIZE, seed=500)
    return images, keras.saving.load_model(place / "net.keras").predict(images, verbose=0)


def test_int8_agrees_with_the_float_network(place, expected):
    images, logits = expected
    segmenter = runtime.Segmenter(place / "int8.tflite")
    found = np.stack([segmenter.logits(image) for image in images])
    assert np.mean((found > 0) == (logits > 0)) > 0.93  # untrained logits lie close to 0; trained ones agree better
    assert np.abs(found - logits).mean() < 0.05 * np.abs(logits).max()


def test_int8_holds_only_int8_operations(place):
    found = inspect.inspect(place / "int8.tflite")
    assert found["float_ops"] == found["space_to_batch"] == 0
    assert found["partitions"] == 1 and found["delegated"] == found["total"]
    assert not {"PRELU", "AVERAGE_POOL_2D", "MUL"} & set(found["ops"])
    assert found["ops"]["QUANTIZE"] <= 2  # uint8 to int8 and back


@pytest.mark.parametrize("mode", ["float32", "float16", "dynamic"])
def test_the_float_types_agree_with_the_network(place, expected, mode):
    images, logits = expected
    out = place / f"{mode}.tflite"
    assert convert.main([*net(place), "--quantize", mode, "-o", str(out)]) == 0
    segmenter = runtime.Segmenter(out)
    found = np.stack([segmenter.logits(image) for image in images])
    limit = {"float32": 1e-4, "float16": 0.02, "dynamic": 0.1}[mode]
    assert np.abs(found - logits).max() < limit * np.abs(logits).max()
    assert segmenter.spec["input"]["dtype"] == "float32"
    assert segmenter.spec["calibration"] is None


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_the_type_of_input_and_output_can_be_chosen(place, expected, io):
    out = place / f"io-{io}.tflite"
    photos = ["--calibration", str(place / "photos"), "--calibration-count", "30"]
    assert convert.main([*net(place), *photos, "--io", io, "-o", str(out)]) == 0
    segmenter = runtime.Segmenter(out)
    spec = segmenter.spec
    assert spec["input"]["dtype"] == spec["output"]["dtype"] == io
    if io == "int8":
        assert (spec["input"]["scale"], spec["input"]["zero_point"]) == (pytest.approx(1 / 255), -128)
    image, logits = expected[0][0], expected[1][0]
    assert np.mean((segmenter.logits(image) > 0) == (logits > 0)) > 0.9


def test_equal_vectors_are_stored_once_and_weights_stay_aligned(monkeypatch):
    """ExtremeC3Net's scales and zero points were a third of its file."""
    graph = rewrite.rewrite(read(small.extremec3()), images := photos(8, SIZE))
    content = converter.to_tflite(graph, "int8", images)
    monkeypatch.setattr(converter, "compact", bytes)
    plain = converter.to_tflite(graph, "int8", images)
    assert len(content) < 0.75 * len(plain)
    answers = [interpreted(each, images[0]) for each in (content, plain)]
    assert np.array_equal(*answers) and np.ptp(answers[0]) > 20
    model = schema.Model.GetRootAs(content)
    starts = [
        b._tab.Vector(b._tab.Offset(4)) for b in map(model.Buffers, range(model.BuffersLength())) if b.DataLength()
    ]
    assert len(starts) > 50 and all(start % 16 == 0 for start in starts)


@pytest.mark.parametrize("io", converter.IO)
def test_xnnpack_takes_the_ends_of_int8_which_give_every_byte_as_before(io, tmp_path):
    graph = rewrite.rewrite(read(small.extremec3()), images := photos(8, SIZE))
    content = converter.to_tflite(graph, "int8", images, io)
    changed = ends.for_xnnpack(content)
    assert (changed == content) == (io != "uint8")
    if io == "uint8":
        assert np.array_equal(interpreted(changed, images[0]), interpreted(content, images[0]))
    assert ends.for_xnnpack(changed) == changed
    (file := tmp_path / "model.tflite").write_bytes(changed)
    found = inspect.inspect(file)
    assert found["delegated"] == found["total"] and found["float_ops"] == 0


def test_accelerators_get_integers_alone(tmp_path):
    graph = rewrite.rewrite(read(small.extremec3()), images := photos(8, SIZE), "accelerator")
    (file := tmp_path / "model.tflite").write_bytes(repair.to_int8(graph, images, target="accelerator")[0])
    assert not any("float32" in operation["types"] for operation in inspect.inspect(file)["operations"])


def interpreted(content, image):
    """What the model in `content` gives for an image, as stored."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(int)


def test_the_spec_says_what_an_app_needs(place):
    spec = json.loads((place / "int8.json").read_text())
    assert spec["network"] == "extremec3"
    assert spec["input"] == {
        "height": 64, "width": 64, "channels": 3, "dtype": "uint8", "scale": pytest.approx(1 / 255, rel=1e-6),
        "zero_point": 0, "color_order": "RGB",
    }  # fmt: skip
    assert (spec["output"]["classes"], spec["output"]["activation"]) == (1, "sigmoid")
    assert spec["labels"] == ["background", "person"]
    assert len(spec["colors"]) == 2
    assert spec["sha256"] == hashlib.sha256((place / "int8.tflite").read_bytes()).hexdigest()
    assert spec["calibration"]["count"] == 56  # the training split: four of every five of 70
    assert not set(data.load("folder", place / "photos", "test").names) & set(spec["calibration"]["names"])
    assert str(place) not in json.dumps(spec)


def test_several_classes_are_named_and_coloured(tmp_path):
    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.Conv2D(4, 1)(image)).save(tmp_path / "parts.keras")
    out = tmp_path / "parts.tflite"
    assert convert.main([str(tmp_path / "parts.keras"), "--quantize", "float32", "-o", str(out)]) == 0
    spec = runtime.Segmenter(out).spec
    assert spec["output"]["activation"] == "softmax"
    assert len(spec["labels"]) == len(spec["colors"]) == spec["output"]["classes"] == 4


def test_few_and_uniform_images_are_warned_about(place, capsys, tmp_path):
    out = ["--calibration-count", "3", "-o", str(tmp_path / "few.tflite")]
    (tmp_path / "alike").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "alike" / f"{i}.png"), np.full((64, 64, 3), 120 + i, np.uint8))
    convert.main([*net(place), "--calibration", str(tmp_path / "alike"), *out])
    warned = capsys.readouterr().err
    assert "3 images are few" in warned
    assert "are alike" in warned


def test_drawings_are_used_when_they_are_asked_for_by_name(place, capsys, tmp_path):
    out = str(tmp_path / "drawn.tflite")
    assert convert.main([*net(place), "--dataset", "drawings", "--calibration-count", "2", "-o", out]) == 0
    assert "2 images of drawings" in capsys.readouterr().out


def test_the_gate_needs_data(place):
    """It used to measure on the drawings, end with 0 and write that accuracy into the spec."""
    before = (place / "int8.json").read_text()
    with pytest.raises(UserError, match=r"does not say what it was trained on\. Give --data-dir DIR"):
        verify.main([str(place / "int8.tflite"), "--against", str(place / "net.keras")])
    assert (place / "int8.json").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no model 'nothing'"),
        (["net.keras", "--calibration", "nowhere"], "no folder nowhere"),
        (["net.keras", "--calibration", "empty"], "holds no file"),
        (["net.keras", "--quantize", "float32", "--io", "uint8"], "--io uint8 needs --quantize int8"),
        (
            ["net.keras", "--quantize", "float16", "--target", "accelerator"],
            "--target accelerator is of integer models",
        ),
        (["net.keras", "-o", "out.onnx"], "must end in .tflite"),
        (["odd.keras", "--quantize", "float32"], "'odd' of 'network' needs TensorFlow's ResizeBicubic"),
        (["net.keras"], "does not say what it was trained on"),
        (["run"], "lost, which is not there. Say where it is with --data-dir"),
    ],
)
def test_mistakes_are_explained(place, monkeypatch, arguments, message):
    monkeypatch.chdir(place)
    Path("empty").mkdir(exist_ok=True)
    image = keras.Input((8, 8, 3))
    odd = keras.layers.UpSampling2D(interpolation="bicubic", name="odd")
    keras.Model(image, odd(image), name="network").save("odd.keras")
    Path("run").mkdir(exist_ok=True)
    shutil.copy("net.keras", "run/model.keras")
    Path("run/run.json").write_text(json.dumps({"options": {"dataset": "eg1800", "data_dir": str(place / "lost")}}))
    with pytest.raises(UserError) as error:
        convert.main(arguments)
    assert message in str(error.value)


def test_a_failed_conversion_leaves_what_was_there(place, monkeypatch, tmp_path):
    out = tmp_path / "kept.tflite"
    for path in (out, out.with_suffix(".json")):
        path.write_text("before")

    def fail(*arguments):
        raise UserError("the converter refused")

    monkeypatch.setattr(convert, "to_tflite", fail)
    with pytest.raises(UserError, match="refused"):
        convert.main([*net(place), "--quantize", "float32", "-o", str(out)])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "kept.tflite": "before", "kept.json": "before"
    }  # fmt: skip


def test_what_needs_more_than_built_in_operations_is_refused():
    from tflite.graph import Graph, Node

    image = Node("image", "input", (), (8, 8, 3))
    odd = Node("odd", "activation", ("image",), (8, 8, 3), {"function": "odd"})
    with pytest.raises(ValueError, match="'odd'"):
        converter.to_tflite(Graph("network", [image, odd], "odd"), "float32")


def test_verify_passes_and_records_what_it_measured(place, capsys):
    arguments = [str(place / "int8.tflite"), "--against", str(place / "net.keras"), "--limit", "3"]
    arguments += ["--data-dir", str(place / "photos")]
    report = ["--json", str(place / "verify.json"), "--worst", str(place / "worst.png")]
    assert verify.main([*arguments, *report]) == 0
    figures = json.loads((place / "verify.json").read_text())
    assert figures["passed"]
    assert figures["agreement"] > 0.9
    assert abs(figures["loss_points"]) < 3
    assert cv2.imread(str(place / "worst.png")).shape[1] == 3 * 2 * 200
    accuracy = runtime.Segmenter(place / "int8.tflite").spec["accuracy"]
    assert accuracy["foreground_iou"] == pytest.approx(figures["converted"]["foreground_iou"])


def test_verify_fails_past_its_limit(place, capsys):
    """The limit lies one point below what the model loses; nothing else about it is wrong."""
    loss = json.loads((place / "verify.json").read_text())["loss_points"]
    arguments = [str(place / "int8.tflite"), "--against", str(place / "net.keras"), f"--limit={loss - 1}"]
    assert verify.main([*arguments, "--data-dir", str(place / "photos")]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_verify_refuses_another_network(place):
    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.Conv2D(1, 1)(image)).save(place / "smaller.keras")
    with pytest.raises(UserError, match="was made from another network"):
        arguments = [str(place / "int8.tflite"), "--against", str(place / "smaller.keras")]
        verify.main([*arguments, "--data-dir", str(place / "photos")])


@pytest.mark.parametrize("how", [[str(ROOT / "tflite" / "convert.py")], ["-m", "tflite.convert"]])
def test_both_ways_to_call_it_show_help(how, tmp_path):
    """Run as a file, the folder's inspect.py must not hide Python's own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *how, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "example:" in done.stdout


def test_another_input_has_the_same_weights(place, tmp_path, capsys):
    out = tmp_path / "larger.tflite"
    arguments = ["--quantize", "float32", "--input-size", f"{SIZE[0] + 16},{SIZE[1]}", "-o", str(out)]
    assert convert.main([*net(place), *arguments]) == 0
    assert runtime.Segmenter(out).input_size == (SIZE[0] + 16, SIZE[1])
    assert verify.main([str(out), "--against", *net(place), "--data-dir", str(place / "photos"), "--layers", "1"]) == 0
    assert "0.0000" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"positive multiples of 4; the nearest that works is 32x32"):
        convert.main([*net(place), "--input-size", "30"])


def test_a_layer_with_a_size_of_its_own_refuses_another_input(tmp_path):
    image = keras.Input((32, 32, 3))
    fixed = keras.layers.Resizing(32, 32)(keras.layers.Conv2D(1, 1)(image))
    keras.Model(image, fixed).save(tmp_path / "fixed.keras")
    with pytest.raises(UserError, match="cannot take photos of 64x64: a layer of it has a size of its own"):
        convert.main([str(tmp_path / "fixed.keras"), "--input-size", "64"])
