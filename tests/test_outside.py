"""The package as a user from outside meets it: names, weights under other heads, networks and losses of one's own."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_models as km
from keras_models import command, predict
from keras_models.command import UserError

ROOT = Path(__file__).parents[1]


def test_weights_load_under_another_head_and_size(capsys):
    preset = km.load("extremec3-eg1800")
    model = km.build("extremec3", classes=3, input_size=64, weights="extremec3-eg1800")
    said = capsys.readouterr().out
    assert (model.input_shape, model.output_shape) == ((None, 64, 64, 3), (None, 64, 64, 3))
    assert "these start anew: head" in said and said.count(",") == 0
    for name, same in (("stem_conv", True), ("head", False)):
        ours, theirs = (m.get_layer(name).get_weights()[0] for m in (model, preset))
        assert (ours.shape == theirs.shape and (ours == theirs).all()) == same
    again = km.build("extremec3", weights="extremec3-eg1800")
    assert again.input_shape == preset.input_shape
    for ours, theirs in zip(again.get_weights(), preset.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="No layer of sinet fits"):
        km.build("sinet", weights="extremec3-eg1800")


def test_losses_and_metrics_are_keras_own(tmp_path):
    model = km.build("extremec3", classes=3, input_size=32)
    model.compile("adamw", km.losses.CrossEntropyIoU(iou_weight=0.5), metrics=[km.metrics.ForegroundIoU()])
    images, labels = np.zeros((2, 32, 32, 3), "float32"), np.ones((2, 32, 32), "uint8")
    found = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert 0 <= found["foreground_iou"] <= 1
    logits = model.predict(images, verbose=0)
    assert found["loss"] == pytest.approx(float(km.losses.cross_entropy_iou(labels, logits, iou_weight=0.5)), rel=1e-4)
    model.save(tmp_path / "model.keras")
    loss = keras.saving.load_model(tmp_path / "model.keras").loss
    assert loss.get_config()["iou_weight"] == 0.5
    with pytest.raises(TypeError, match="misspelt"):
        km.losses.CrossEntropyIoU(misspelt=1)


def test_a_network_of_ones_own_needs_a_name_and_nothing_else(monkeypatch):
    @km.register
    def my_net(image, classes):
        return keras.layers.Conv2D(classes, 3, padding="same", name="head")(image)

    try:
        assert "my_net" in km.names()
        assert km.build("my_net", classes=4, input_size=(16, 24)).output_shape == (None, 16, 24, 4)
        assert list(km.registry.network("my_net").recipes) == ["pocket", "drawings", "tune"]
        with pytest.raises(ValueError, match="Two networks are called 'extremec3'"):
            km.register(type("Other", (), {"__name__": "extremec3", "__call__": None})())
    finally:
        del km.registry._networks["my_net"]
    assert km.registry.network("tests.test_train:net_with_dropout").name == "net_with_dropout"


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("verb", ["train", "prune", "evaluate", "predict", "summary", "checkpoints", "data"])
def test_help_does_not_wait_for_keras(verb):
    watched = f"""
import sys
from keras_models.__main__ import main
try:
    main([{verb!r}, "--help"])
except SystemExit as end:
    assert not end.code
assert not {{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules), sorted(sys.modules)
"""
    done = run("-c", watched)
    assert done.returncode == 0, done.stderr
    assert "example:" in done.stdout


def test_no_start_up_lines_of_tensorflow():
    done = run("-c", "from keras_models import command; command.load_keras().ops.ones(3)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_backend_that_is_not_there_is_named():
    blocked = "import sys; sys.modules['tensorflow'] = None\nfrom keras_models import command\ncommand.load_keras()"
    done = run("-c", blocked, KERAS_BACKEND="tensorflow")
    assert "KERAS_BACKEND=tensorflow, jax or torch" in done.stderr


def test_conversion_says_that_it_needs_tensorflow(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [NoTensorflow(), *sys.meta_path])
    verbs = {"convert": ("tests.needs_tensorflow", "")}
    with pytest.raises(UserError, match="convert needs tensorflow, which is not installed"):
        command.dispatch(verbs, ["convert"], program="", description="", example="")


class NoTensorflow:
    """Fails as the import of a module does that imports TensorFlow where there is none."""

    def find_spec(self, name, path=None, target=None):
        if name == "tests.needs_tensorflow":
            raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")


def test_an_unknown_verb_is_named():
    with pytest.raises(UserError, match=r"Unknown verb.*train"):
        command.dispatch({"train": ("nowhere", "")}, ["trane"], program="", description="", example="")


# -- Files that are no models ------------------------------------------------------------------------------------------


def segmenter(activation=None, channels=2):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(channels, 1, activation=activation, name="head")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.UpSampling2D(2, interpolation="bilinear")(x), name="net")


@pytest.mark.parametrize(("activation", "channels"), [("softmax", 3), ("sigmoid", 1)])
def test_probabilities_are_measured_as_logits(activation, channels, tmp_path):
    keras.utils.set_random_seed(0)
    with_activation, logits = segmenter(activation, channels), segmenter(None, channels)
    logits.set_weights(with_activation.get_weights())
    with_activation.save(tmp_path / "p.keras")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("uint8")
    found = km.models.predictor(tmp_path / "p.keras").logits(images)
    assert km.models.final_activation(with_activation) == activation
    assert km.models.final_activation(logits) is None
    at_the_photo = with_activation.predict(images, verbose=0)
    again = 1 / (1 + np.exp(-found)) if activation == "sigmoid" else np.exp(found)
    np.testing.assert_allclose(again, at_the_photo, atol=1e-5)
    assert found.min() < 0


def no_segmenters():
    image, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    yield "a classifier", keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)), "its output has the shape"
    yield "two inputs", keras.Model([image, two], keras.layers.Add()([image, two])), "2 inputs and 1 outputs"
    grey, open_size = keras.Input((8, 8, 1)), keras.Input((None, None, 3))
    yield "one channel", keras.Model(grey, keras.layers.Conv2D(1, 1)(grey)), "its input has the shape"
    yield "any size", keras.Model(open_size, keras.layers.Conv2D(1, 1)(open_size)), "no fixed size"
    broken = segmenter()
    broken.set_weights([np.full(weight.shape, np.nan) for weight in broken.get_weights()])
    yield "weights that are no numbers", broken, "no numbers"


@pytest.mark.parametrize("case", range(5))
def test_a_model_that_is_no_segmenter_is_refused_by_its_reason(case, tmp_path):
    name, model, message = list(no_segmenters())[case]
    model.save(tmp_path / "m.keras")
    with pytest.raises(UserError, match=message):
        km.models.predictor(tmp_path / "m.keras")
    assert name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"m\.keras is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"m\.keras is HDF5"),
        (b"PK\x03\x04cut", r"m\.keras is cut short"),
    ],
)
def test_a_file_that_only_bears_the_name_is_refused(content, said, tmp_path):
    (tmp_path / "m.keras").write_bytes(content)
    with pytest.raises(UserError, match=said):
        km.load(tmp_path / "m.keras")


def test_predict_never_overwrites_its_input_nor_results_unasked(tmp_path, monkeypatch):
    photo = tmp_path / "x.jpg"
    km.pictures.write(photo, np.full((20, 20, 3), 99, np.uint8))
    before = photo.read_bytes()
    with pytest.raises(UserError, match="is the input"):
        predict.main(["extremec3-eg1800", str(photo), "-o", str(photo), "--overwrite"])
    assert photo.read_bytes() == before
    (tmp_path / "y.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="there already"):
        predict.main(["extremec3-eg1800", str(photo), "-o", str(tmp_path / "y.png")])
    with pytest.raises(UserError, match="no image format"):
        predict.main(["extremec3-eg1800", str(photo), "-o", str(tmp_path / "y.webq")])
    assert (tmp_path / "y.png").read_bytes() == b"mine"
    for name in ("a.jpg", "a.png"):
        km.pictures.write(tmp_path / "photos" / name, np.full((20, 20, 3), 99, np.uint8))
    with pytest.raises(UserError, match=r"Several photos would become a\.png"):
        predict.main(["extremec3-eg1800", str(tmp_path / "photos"), "-o", str(tmp_path / "out"), "--effect", "mask"])
    with pytest.raises(UserError, match="no file or folder ²"):
        predict.main(["extremec3-eg1800", "²"])


@pytest.mark.parametrize(
    "name",
    [path.stem for path in sorted((ROOT / "benchmarks").glob("*.py")) if "command.run(main)" in path.read_text()],
)
def test_help_of_a_benchmark_measures_nothing(name, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert not ended.value.code
    assert f"python -m benchmarks.{name}" in capsys.readouterr().out.split("example:")[1]
