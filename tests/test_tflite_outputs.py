"""What convert.py can give beside logits from TensorFlow's converter: other outputs, the second engine, int16."""

import json
import sys

import cv2
import keras
import numpy as np
import pytest

from keras_models.command import UserError
from keras_models.models import predictor
from tests.small import photos
from tflite import convert, inspect, runtime

SIZE = (32, 32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos in `photos/` and a network for two kinds of output, `one.keras` and `four.keras`."""
    place = tmp_path_factory.mktemp("outputs")
    (place / "photos").mkdir()
    for i, photo in enumerate(photos(6, SIZE)):
        cv2.imwrite(str(place / "photos" / f"{i}.png"), photo[..., ::-1])
    keras.utils.set_random_seed(3)
    for name, classes in (("one", 1), ("four", 4)):
        image = keras.Input((*SIZE, 3))
        x = keras.layers.Rescaling(1 / 128, -1)(image)
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="features")(x)
        keras.Model(image, keras.layers.Conv2D(classes, 3, padding="same", name="head")(x)).save(
            place / f"{name}.keras"
        )
    return place


def converted(place, name, *arguments):
    out = place / f"{'-'.join((name, *arguments)).replace('--', '').replace('/', '')}.tflite"
    calibration = ["--calibration", str(place / "photos")]
    assert convert.main([str(place / f"{name}.keras"), *calibration, *arguments, "-o", str(out)]) == 0
    return out


def float_logits(place, name, images):
    return keras.saving.load_model(place / f"{name}.keras").predict(images, verbose=0)


@pytest.mark.parametrize("name", ["one", "four"])
def test_probabilities_are_those_of_the_logits(place, name):
    out = converted(place, name, "--output", "probabilities")
    images = photos(3, SIZE, seed=50)
    segmenter = runtime.Segmenter(out)
    spec = segmenter.spec["output"]
    assert (spec["kind"], spec["scale"], spec["zero_point"]) == ("probabilities", 1 / 256, 0)
    logits = float_logits(place, name, images)
    expected = np.asarray(keras.ops.sigmoid(logits) if name == "one" else keras.ops.softmax(logits))
    found = np.stack([segmenter.output(image) for image in images])
    assert np.abs(found - expected).max() < 0.06
    shown = np.stack([segmenter.probabilities(image)[..., -1] for image in images])
    assert np.abs(shown - expected[..., -1]).max() < 0.06


@pytest.mark.parametrize("name", ["one", "four"])
@pytest.mark.parametrize("mode", ["int8", "float32"])
def test_labels_are_those_of_the_logits(place, name, mode):
    out = converted(place, name, "--output", "labels", *([] if mode == "int8" else ["--quantize", mode]))
    images = photos(3, SIZE, seed=50)
    segmenter = runtime.Segmenter(out)
    assert segmenter.spec["output"]["dtype"] == "uint8"
    logits = float_logits(place, name, images)
    expected = logits[..., 0] > 0 if name == "one" else logits.argmax(-1)
    found = np.stack([segmenter.output(image)[..., 0] for image in images])
    assert found.dtype == np.float32
    assert np.mean(found == expected) > (0.97 if mode == "int8" else 0.9999)
    assert np.array_equal(found, np.stack([segmenter.labels(image) for image in images]))
    # What evaluate and predict read has one channel per logit of the network.
    assert predictor(out).logits(images).shape == logits.shape


def test_a_kind_of_output_that_is_not_known_is_refused(place, tmp_path):
    out = converted(place, "one")
    spec = json.loads(out.with_suffix(".json").read_text())
    spec["output"]["kind"] = "distances"
    (tmp_path / "odd.tflite").write_bytes(out.read_bytes())
    (tmp_path / "odd.json").write_text(json.dumps(spec))
    with pytest.raises(runtime.ModelError, match=r"'distances'.*logits, probabilities, labels"):
        runtime.Segmenter(tmp_path / "odd.tflite")


@pytest.mark.parametrize("kind", runtime.KINDS)
def test_a_spec_that_says_another_kind_than_the_file_is_refused_whatever_the_values(place, tmp_path, kind, monkeypatch):
    out = converted(place, "one", "--quantize", "float32", "--output", kind)
    spec = json.loads(out.with_suffix(".json").read_text())
    (tmp_path / "odd.tflite").write_bytes(out.read_bytes())
    monkeypatch.setattr(runtime.Segmenter, "_check_values", lambda *_: None)
    for other in {*runtime.KINDS} - {kind}:
        spec["output"]["kind"] = other
        (tmp_path / "odd.json").write_text(json.dumps(spec))
        with pytest.raises(runtime.ModelError, match=f"gives {other}.*itself says {kind}"):
            runtime.Segmenter(tmp_path / "odd.tflite")


def test_labels_of_four_classes_are_not_by_sigmoid(place, tmp_path):
    out = converted(place, "four", "--quantize", "float32", "--output", "labels")
    spec = json.loads(out.with_suffix(".json").read_text())
    spec["output"]["activation"] = "sigmoid"
    (tmp_path / "odd.tflite").write_bytes(out.read_bytes())
    (tmp_path / "odd.json").write_text(json.dumps(spec))
    with pytest.raises(runtime.ModelError, match=r"output.activation: 'sigmoid'; expected softmax"):
        runtime.Segmenter(tmp_path / "odd.tflite")


def test_a_file_name_as_the_kind_of_output_is_refused(place, capsys):
    with pytest.raises(SystemExit) as stopped:
        convert.main([str(place / "one.keras"), "--output", "out.tflite"])
    assert stopped.value.code == 2
    assert "labels" in capsys.readouterr().err


def test_int16_is_nearer_to_float_than_int8(place):
    images = photos(3, SIZE, seed=50)
    logits = float_logits(place, "four", images)
    errors = {}
    for mode in ("int8", "int16"):
        segmenter = runtime.Segmenter(converted(place, "four", "--quantize", mode))
        errors[mode] = np.abs(np.stack([segmenter.logits(image) for image in images]) - logits).mean()
    assert segmenter.spec["calibration"]["count"] == 6
    assert errors["int16"] < errors["int8"]


def test_the_report_names_the_layers(place, capsys):
    report = place / "report.json"
    converted(place, "one", "--report", str(report))
    written = json.loads(report.read_text())
    assert written["engine"] == "tensorflow"
    assert {"features_relu", "head"} <= {row["layer"] for row in written["layers"]}
    assert all(0 < row["loss"] < 0.2 for row in written["layers"] if row["operation"] == "CONV_2D")
    assert "head" in capsys.readouterr().out


def test_a_report_does_not_take_the_place_of_the_spec(place, tmp_path):
    arguments = ["--calibration", str(place / "photos"), "--report", str(tmp_path / "a.json")]
    with pytest.raises(UserError, match="place of the spec"):
        convert.main([str(place / "one.keras"), *arguments, "-o", str(tmp_path / "a.tflite")])
    assert not list(tmp_path.iterdir())


def test_labels_of_many_classes_have_room(place, tmp_path):
    image, head = keras.Input((*SIZE, 3)), keras.layers.Conv2D(300, 1, name="head")
    model = keras.Model(image, head(image))
    head.set_weights([np.zeros((1, 1, 3, 300)), np.eye(300)[280]])
    model.save(place / "many.keras")
    segmenter = runtime.Segmenter(converted(place, "many", "--quantize", "float32"))
    assert (segmenter.labels(photos(1, SIZE)[0]) == 280).all()
    with pytest.raises(UserError, match="room for 256 classes"):
        convert.main([str(place / "many.keras"), "--output", "labels", "--quantize", "float32"])


class TestSecondEngine:
    """ai-edge-quantizer, where it is installed; without it, what it says."""

    @pytest.mark.parametrize("io", ["uint8", "int8", "float32"])
    def test_its_int8_agrees_with_float(self, place, io):
        pytest.importorskip("ai_edge_quantizer", reason="the second engine is an extra")
        out = converted(place, "four", "--engine", "ai-edge-quantizer", "--io", io)
        segmenter = runtime.Segmenter(out)
        assert segmenter.spec["input"]["dtype"] == segmenter.spec["output"]["dtype"] == io
        images = photos(3, SIZE, seed=50)
        found = np.stack([segmenter.logits(image) for image in images])
        assert np.mean(found.argmax(-1) == float_logits(place, "four", images).argmax(-1)) > 0.97
        assert inspect.inspect(out)["float_ops"] == 0

    @pytest.mark.parametrize("layer", ["head", "features"])
    def test_a_layer_can_stay_float(self, place, layer):
        pytest.importorskip("ai_edge_quantizer", reason="the second engine is an extra")
        out = converted(place, "four", "--engine", "ai-edge-quantizer", "--keep-float", layer)
        floating = [
            row for row in inspect.inspect(out)["operations"] if row["name"] == "CONV_2D" and row["float_output"]
        ]
        assert len(floating) == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--keep-float", "head"], "--keep-float needs --engine ai-edge-quantizer"),
            (["--engine", "ai-edge-quantizer", "--quantize", "float16"], "makes int8. Received: --quantize float16"),
            (["--quantize", "float32", "--report", "r.json"], "--report is of integer models"),
        ],
    )
    def test_mistakes_are_explained(self, place, arguments, message):
        with pytest.raises(UserError, match=message):
            convert.main([str(place / "one.keras"), *arguments])

    def test_a_layer_that_is_not_there_is_named_with_those_near_it(self, place, tmp_path):
        pytest.importorskip("ai_edge_quantizer", reason="the second engine is an extra")
        out = tmp_path / "out.tflite"
        arguments = ["--calibration", str(place / "photos"), "--engine", "ai-edge-quantizer", "--keep-float", "haed"]
        with pytest.raises(UserError, match=r"no layer 'haed'\. Near it: head"):
            convert.main([str(place / "one.keras"), *arguments, "-o", str(out)])
        assert not list(tmp_path.iterdir())

    def test_without_it_the_message_says_how_to_install_it(self, place, monkeypatch):
        monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
        with pytest.raises(UserError, match="pip install ai-edge-quantizer"):
            convert.main([str(place / "one.keras"), "--engine", "ai-edge-quantizer"])
