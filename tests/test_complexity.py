"""Counts against the papers' figures, and every rule against a count by hand."""

import json

import keras
import pytest
from keras import layers

from keras_models import blocks, build
from keras_models.complexity import Complexity, count
from keras_models.registry import network
from tests.shared import SHARED, needs_shared


@needs_shared
@pytest.mark.parametrize(
    ("name", "classes", "row"),
    [
        ("extremec3", 1, "ExtremeC3Net"),
        ("extremec3", 2, "ExtremeC3Net_2class"),
        ("extremec3_coarse", 1, "ExtremeC3Net_CoarseNet_stage1"),
    ],
)
def test_counts_equal_the_authors_code(name, classes, row):
    expected = json.loads((SHARED / "reference/counts.json").read_text())[row]
    found = count(build(name, classes=classes))
    assert found == Complexity(expected["params"], expected["macs_conv_deconv_linear"], expected["flops_all"])


@pytest.mark.parametrize("name", ["extremec3", "extremec3_coarse"])
def test_counts_equal_the_registry(name):
    found = count(build(name))
    assert (found.parameters, found.macs) == (network(name).parameters, network(name).macs)


# Input 8x6x4. Each row: the layer, trainable parameters, multiply-accumulates, other FLOPs.
RULES = {
    "convolution": (lambda: layers.Conv2D(10, 3, padding="same"), 3 * 3 * 4 * 10 + 10, 48 * 9 * 4 * 10, 0),
    "strided": (lambda: layers.Conv2D(10, (3, 1), strides=2, padding="same"), 3 * 4 * 10 + 10, 12 * 3 * 4 * 10, 0),
    "grouped": (lambda: layers.Conv2D(10, 1, groups=2), 2 * 10 + 10, 48 * 2 * 10, 0),
    "with relu": (lambda: layers.Conv2D(10, 1, activation="relu"), 4 * 10 + 10, 48 * 40, 48 * 10),
    "with sigmoid": (lambda: layers.Conv2D(10, 1, activation="sigmoid"), 4 * 10 + 10, 48 * 40, 0),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, strides=2, padding="same"), 9 * 4 + 4, 12 * 9 * 4, 0),
    "separable": (lambda: layers.SeparableConv2D(10, 3, padding="same"), 36 + 40 + 10, 48 * (36 + 40), 0),
    "deconvolution": (lambda: layers.Conv2DTranspose(10, 4, strides=2), 16 * 4 * 10 + 10, 48 * 16 * 4 * 10, 0),
    "dense": (lambda: layers.Dense(10), 4 * 10 + 10, 48 * 4 * 10, 0),
    "batch norm": (lambda: layers.BatchNormalization(), 8, 0, 2 * 192),
    "prelu": (lambda: layers.PReLU(shared_axes=[1, 2]), 4, 0, 192),
    "relu": (lambda: layers.ReLU(), 0, 0, 192),
    "activation": (lambda: layers.Activation("relu"), 0, 0, 192),
    "softmax": (lambda: layers.Softmax(), 0, 0, 0),
    "average pool": (lambda: layers.AveragePooling2D(2), 0, 0, 192),
    "max pool": (lambda: layers.MaxPooling2D(3, strides=2), 0, 0, 192),
    "global pool": (lambda: layers.GlobalAveragePooling2D(), 0, 0, 192),
    "bilinear": (lambda: layers.UpSampling2D(2, interpolation="bilinear"), 0, 0, 3 * 192),
    "nearest": (lambda: layers.UpSampling2D(2), 0, 0, 0),
    "corners aligned": (lambda: blocks.BilinearUpsampling(2), 0, 0, 3 * 192),
    "row": (lambda: blocks.RowDepthwiseConv2D((1, 3), padding="same", use_bias=False), 3 * 4, 48 * 3 * 4, 0),
    "rescaling": (lambda: layers.Rescaling(1 / 255), 0, 0, 0),
}


@pytest.mark.parametrize("rule", list(RULES))
def test_rule(rule):
    layer, parameters, macs, others = RULES[rule]
    image = keras.Input((8, 6, 4))
    found = count(keras.Model(image, layer()(image)))
    assert found == Complexity(parameters, macs, 2 * macs + others)


def test_the_c3_papers_bilinear_costs_13():
    image = keras.Input((8, 6, 4))
    model = keras.Model(image, blocks.bilinear(image, 2, name="up"))
    assert count(model, bilinear_flops=13).flops == 13 * 192


def test_a_shared_layer_and_a_model_within_count_each_time_they_run():
    inner_image = keras.Input((8, 8, 4))
    inner = keras.Model(inner_image, layers.Conv2D(4, 1, use_bias=False)(inner_image))
    image = keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 1, use_bias=False)
    model = keras.Model(image, inner(shared(shared(inner(image)))))
    assert count(model) == Complexity(2 * 16, 4 * 64 * 16, 8 * 64 * 16)


def test_what_cannot_be_counted_is_named():
    image = keras.Input((8, 8))
    with pytest.raises(ValueError, match="Received: LSTM 'memory'"):
        count(keras.Model(image, layers.LSTM(3, name="memory")(image)))
    image = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match=r"fixed height and width.*'open'"):
        count(keras.Model(image, layers.Conv2D(3, 1, name="open")(image)))
