"""The bridge to the model-optimization toolkit, and quantization-aware training, pruning and clustering through it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_models
from tests import small
from tests.small import SIZE, photos
from tflite import bridge, graph, rewrite

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
from tflite import bridge
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
