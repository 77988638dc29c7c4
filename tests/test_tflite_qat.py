"""The bridge to the model-optimization toolkit, and quantization-aware training, pruning and clustering through it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

import keras_models
from keras_models.command import UserError
from keras_models.data import drawings
from keras_models.data.augment import Augmentation
from tests import small
from tests.small import SIZE, photos
from tflite import convert, graph, inspect, runtime
from tflite.graph import rewrite
from tflite.quantize import bridge, finetune, tuned
from tflite.quantize.plan import Material, Plan

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("int8", [False, True], ids=["float form", "int8 form"])
@pytest.mark.parametrize(
    ("name", "classes"),
    [("extremec3", 1), ("extremec3", 2), ("sinet", None), ("espnet_c", 5), ("enet", 4), ("portraitnet", None)],
)
def test_the_bridge_computes_what_the_graph_does(name, classes, int8):
    network = graph.read(small.looks_trained(keras_models.build(name, classes=classes, input_size=SIZE)))
    images = photos(3, SIZE)
    simple = rewrite.simplify(network, images if int8 else None)
    expected = graph.run(simple, images / np.float32(255))
    found = bridge.to_tf_keras(simple).predict(images / np.float32(255), verbose=0)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_every_weight_but_constants_is_trained():
    import tensorflow as tf

    simple = rewrite.simplify(graph.read(small.extremec3()), photos(2, SIZE))
    built = bridge.Bridge(simple, bridge.Technique(int8=True), steps=1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(built.model(photos(2, SIZE) / np.float32(255), training=True) ** 2)
    gradients = tape.gradient(loss, built.trainable)
    assert len(gradients) == sum(len(node.weights) for node in simple if node.op != "constant")
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)


def test_the_users_keras_and_environment_stay_as_they_are():
    """Importing the toolkit alone makes tf.keras the old Keras and sets TF_USE_LEGACY_KERAS for child processes."""
    program = """
import importlib, os, pkgutil
import numpy as np
before = dict(os.environ)
import tflite
for module in pkgutil.iter_modules(tflite.__path__):
    importlib.import_module(f"tflite.{module.name}")
assert "tf_keras" not in __import__("sys").modules
from tflite.quantize import bridge
from tflite.graph import Graph, Node
image = Node("image", "input", (), (4, 4, 3))
relu = Node("relu", "activation", ("image",), (4, 4, 3), {"function": "relu"})
bridge.Bridge(Graph("net", [image, relu], "relu"), bridge.Technique(int8=True), 1).model(np.ones((2, 4, 4, 3)))
import tensorflow as tf
assert tf.keras.__version__.startswith("3."), tf.keras.__version__
import keras
assert tf.keras.Model is keras.Model
assert {k: v for k, v in os.environ.items() if "KERAS" in k} == {k: v for k, v in before.items() if "KERAS" in k}
"""
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr


# -- The command, on a network of a few layers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the network `net.keras` and labelled photos in `photos/`."""
    place = tmp_path_factory.mktemp("qat")
    small.looks_trained(tiny(classes=1)).save(place / "net.keras")
    for folder in ("images", "masks"):
        (place / "photos" / folder).mkdir(parents=True)
    for i in range(60):
        image, labels = drawings.draw(i)
        cv2.imwrite(str(place / "photos" / "images" / f"{i}.png"), cv2.resize(image, (32, 32))[..., ::-1])
        cv2.imwrite(str(place / "photos" / "masks" / f"{i}.png"), cv2.resize(labels * 255, (32, 32)))
    return place


def tiny(classes: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x)
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 1)(y)))
    x = layers.Concatenate()([layers.Add()([x, y]), layers.AveragePooling2D(2)(image)])
    x = layers.Conv2D(classes, 3, padding="same")(x)
    return keras.Model(image, layers.UpSampling2D(2, interpolation="bilinear")(x))


KERNELS = {432, 256, 171}  # how many weights each of its convolutions has, but for the depthwise one


def run(place, *arguments, output="out.tflite"):
    common = ["--data-dir", str(place / "photos"), "--epochs", "4", "--batch-size", "8", "--learning-rate", "0.02"]
    return convert.main([str(place / "net.keras"), *arguments, *common, "-o", str(place / output)])


@pytest.mark.parametrize(
    "arguments",
    ["qat", "float32 --prune 0.6", "float16 --cluster 8", "dynamic --prune 0.5 --cluster 8", "int8 --prune 0.5",
     "int8 --cluster 6 --prune 0.5", "qat --prune 0.5", "qat --cluster 8 --target accelerator",
     "qat --prune 0.5 --cluster 8"],
)  # fmt: skip
def test_every_combination_is_trained_converted_and_checked(place, capsys, arguments):
    assert run(place, "--quantize", *arguments.split()) == 0
    said = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", said)]
    assert min(losses[1:]) < losses[0]
    # Rounding that it was not trained with costs a network of a few layers more.
    assert float(re.search(r"agree on ([0-9.]+)%", said)[1]) > (90 if arguments.startswith("int8") else 97)
    asked = dict(zip(arguments.split()[1::2], arguments.split()[2::2], strict=True))
    target = asked.pop("--target", "any")
    asked = {flag: float(value) for flag, value in asked.items()}
    if "--prune" in asked:
        assert float(re.search(r"([0-9.]+)% of \d+ weights are zero", said)[1]) >= 100 * asked["--prune"] - 1
    if "--cluster" in asked:
        assert int(re.search(r"at most (\d+) distinct", said)[1]) <= asked["--cluster"]
    if "float" in arguments:  # there the kernels are as the network has them
        kernels = [values for values in constants(place / "out.tflite") if values.size in KERNELS]
        assert {kernel.size for kernel in kernels} == KERNELS
        if "--prune" in asked:
            assert sum((kernel == 0).sum() for kernel in kernels) >= 0.99 * asked["--prune"] * sum(KERNELS)
        if "--cluster" in asked:
            assert all(len(np.unique(kernel)) <= asked["--cluster"] for kernel in kernels)
    elif "dynamic" not in arguments:
        found = inspect.inspect(place / "out.tflite")
        assert (found["float_ops"], found["partitions"]) == (0, 1)
        spec = json.loads((place / "out.json").read_text())
        assert (spec["input"]["scale"], spec["input"]["zero_point"]) == (pytest.approx(1 / 255, rel=1e-6), 0)
        assert spec["target"] == target
    tuning = json.loads((place / "out.json").read_text())["fine_tuning"]
    assert (tuning["sparsity"], tuning["clusters"]) == (asked.get("--prune"), asked.get("--cluster"))
    assert not (place / "out-tuning").exists()


def constants(path) -> list[np.ndarray]:
    interpreter = runtime.load_interpreter(path, delegates=False)
    written = {index for op in interpreter._get_ops_details() for index in op["outputs"]}
    return [interpreter.get_tensor(t["index"]) for t in interpreter.get_tensor_details() if t["index"] not in written]


def test_the_check_reads_the_file(place):
    """A graph with other zeros than the file's is not the file's graph."""
    run(place, "--quantize", "float32", "--prune", "0.5")
    untrained = rewrite.simplify(graph.read(keras.saving.load_model(place / "net.keras")))
    with pytest.raises(ValueError, match="does not hold the weights"):
        tuned.count(place / "out.tflite", untrained, laid_out=False)


def test_interrupted_it_goes_on_where_it_stopped(place, capsys, monkeypatch):
    arguments = ["--quantize", "qat", "--prune", "0.5"]
    assert run(place, *arguments, output="whole.tflite") == 0
    save = finetune.Tuning._save

    def save_and_stop(self, stage, epoch, *rest):
        save(self, stage, epoch, *rest)
        if (stage, epoch) == (2, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetune.Tuning, "_save", save_and_stop)
        run(place, *arguments, output="parts.tflite")
    assert "repeat the command" in capsys.readouterr().out
    with pytest.raises(UserError, match="other options"):
        run(place, "--quantize", "qat", output="parts.tflite")
    # What is made of the tuned network may be another.
    assert run(place, *arguments, "--io", "float32", "--target", "accelerator", output="parts.tflite") == 0
    said = capsys.readouterr().out
    assert "after epoch 2 of stage 2" in said
    assert re.findall(r"epoch (\d)/4", said) == ["3", "4"]
    images = photos(4, (32, 32))
    whole, parts = (
        np.stack([runtime.Segmenter(place / name).logits(image) for image in images])
        for name in ("whole.tflite", "parts.tflite")
    )
    assert np.abs(whole - parts).mean() < 0.02 * np.abs(whole).mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prune", "1.5"], "between 0 and 1. Received: 1.5"),
        (["--cluster", "1"], "2 to 256. Received: 1"),
        (["--prune", "0.5", "--cluster", "2"], "3 to 256"),
        (["--quantize", "qat", "--epochs", "0"], "--epochs must be above 0"),
        (["--quantize", "qat", "--dataset", "eg1800"], "needs --data-dir"),
        (["--data-dir", "photos", "--quantize", "float16"], "uses no photos"),
        (["--prune", "0.5", "--quantize", "float16", "--io", "uint8"], "--io uint8 needs"),
        (["--quantize", "qat", "--output", "labels"], "checked on its logits"),
    ],
)
def test_what_does_not_fit_is_explained(place, monkeypatch, arguments, message):
    monkeypatch.chdir(place)
    with pytest.raises(UserError) as error:
        convert.main(["net.keras", *arguments])
    assert message in str(error.value)


def test_several_classes_are_trained(tmp_path):
    """Four quarters of an image, each a class of its own and of its own colour."""
    labels = np.kron([[0, 1], [2, 3]], np.ones((16, 16))).astype(np.uint8)
    colours = np.random.default_rng(0).integers(0, 255, (4, 3))
    samples = [(np.clip(colours[labels] + shift, 0, 255).astype(np.uint8), labels) for shift in range(-16, 16)]
    images = np.stack([image for image, _ in samples])
    validation = [(images[:8], np.stack([labels] * 8)[..., None])]
    still = Augmentation(flip=False, probability=0)
    material = Material(samples, validation, images / np.float32(255), 4, (32, 32), (32, 32), still)
    plan = Plan(None, None, int8=True, epochs=12, learning_rate=0.1, batch_size=8)
    start = rewrite.simplify(graph.read(small.looks_trained(tiny(classes=4))), images)
    after = finetune.Tuning(start, plan, material, tmp_path / "work", "test").run()
    found = [graph.run(g, images[:8] / np.float32(255)).argmax(-1) for g in (start, after)]
    share_before, share_after = (np.mean(predicted == labels) for predicted in found)
    assert share_after > max(0.8, share_before + 0.2)
