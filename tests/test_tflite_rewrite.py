"""Each rewrite leaves the function of a network as it was."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_models import blocks
from tests import small
from tests.small import looks_trained, photos
from tflite import graph
from tflite.graph import layout, passes, rewrite
from tflite.graph.equalise import equalise

SIZE = (32, 48)


def everything(image):
    """A network with every operation that a pass rewrites, in the places where a rewrite could go wrong."""
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    half = blocks.average_pool(x, name="half")
    stem = blocks.conv_bn_prelu(x, 8, strides=2, name="stem")
    wide = blocks.conv(x, 5, 5, strides=2, name="wide")  # its padding reaches both sides
    x = blocks.bn_prelu(blocks.concat([stem, half, wide], name="joined"), name="joined")
    quarter = blocks.average_pool(half, name="quarter")
    x = blocks.concat([layers.MaxPooling2D(2, name="max")(x), quarter], name="with_quarter")
    x = blocks.conv(layers.ZeroPadding2D(1, name="around")(x), 16, 1, name="one")
    y = blocks.c3_module(x, 16, (1, 2, 4), residual=True, name="module")
    y = layers.Conv2D(16, 3, groups=4, padding="same", dilation_rate=2, activation="relu", name="grouped")(y)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    gate = layers.Conv2D(16, 1, activation="sigmoid", name="excite")(gate)
    y = layers.Multiply(name="scaled")([y, gate])
    y = layers.LeakyReLU(0.1, name="leaky")(blocks.batch_norm(y, name="lone"))
    pair = [blocks.conv(y, 8, 3, name="left"), blocks.depthwise(y, 3, name="right")]
    y = blocks.relu(blocks.concat(pair, name="pair"), name="pair_relu")
    y = blocks.activation(y, "hard_silu", name="hard")
    y = layers.Conv2DTranspose(8, 2, strides=2, name="up")(y)
    y = layers.Dropout(0.5, name="dropout")(blocks.batch_norm(y, name="up_bn"))
    y = layers.UpSampling2D(2, interpolation="bilinear", name="half_pixel")(y)
    y = blocks.pointwise(blocks.bilinear(y, 2, name="corners"), 3, use_bias=True, name="head")
    return layers.Softmax(name="softmax")(y)


@pytest.fixture(scope="module")
def model():
    image = keras.Input((*SIZE, 3))
    return looks_trained(keras.Model(image, everything(image), name="everything"))


@pytest.fixture(scope="module")
def images():
    return photos(2, SIZE, seed=5)


def difference(expected, found):
    """The largest difference, as a fraction of the largest value."""
    return np.abs(expected - found).max() / np.abs(expected).max()


def test_the_graph_is_the_network(model, images):
    found = graph.run(graph.read(model), images / 255)
    assert difference(model.predict(images, verbose=0), found) < 1e-5


STEPS = (*rewrite.PASSES, *rewrite.ACTIVATION_PASSES, *layout.PASSES)


def before(step, network):
    """`network` after the passes that come before `step`."""
    for earlier in STEPS:
        if earlier is step:
            return network
        network = earlier(network)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_pass_leaves_the_function_as_it_was(step, model, images):
    network = before(step, graph.read(model))
    result = step(network)
    assert any(result.nodes.get(node.name) is not node for node in network)
    expected, found = (graph.run(each, images / 255) for each in (network, result))
    if step is passes.drop_final_activation:
        found = np.exp(found) / np.exp(found).sum(axis=-1, keepdims=True)
    assert difference(expected, found) < 1e-5


def test_equalised_channels_keep_the_function(model, images):
    network = before(rewrite.ACTIVATION_PASSES[0], graph.read(model))
    result = equalise(network, images)
    assert difference(graph.run(network, images / 255), graph.run(result, images / 255)) < 1e-5
    peaks = graph.peaks(result, images)  # a slope above 1 makes the PReLU's peak the larger one
    peaks = np.maximum(peaks["module_c3_3_vertical"], peaks["module_c3_3_vertical_prelu"])
    assert peaks.max() / peaks.min() < 1.001


@pytest.mark.parametrize("target", rewrite.TARGETS)
def test_all_of_extremec3(target):
    model, images = small.extremec3(), photos(2, small.SIZE)
    result = rewrite.rewrite(graph.read(model), images, target)
    assert difference(model.predict(images, verbose=0), graph.run(result, images / 255)) < 1e-5
    assert {node.op for node in result} <= {
        "input", "constant", "conv", "depthwise", "add", "subtract", "concat", "resize", "reshape", "transpose"
    }  # fmt: skip


def test_the_plain_layout_has_each_weight_once_and_moves_nothing():
    model, images = small.extremec3(), photos(2, small.SIZE)
    plain, wide = (rewrite.rewrite(graph.read(model), images, target) for target in ("accelerator", "any"))
    moves = {"reshape", "transpose"}
    assert moves & {node.op for node in wide}
    assert not moves & {node.op for node in plain}
    assert 2 * sum(weights(plain)) < sum(weights(wide))
    assert sum(weights(plain)) < 1.2 * model.count_params()


def weights(network):
    return [value.size for node in network for value in node.weights.values()]


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.25, 1.0, 3.0])
def test_a_slope_of_prelu_is_exact(slope):
    x = graph.Node("x", "input", (), (4, 4, 3))
    bend = graph.Node("bend", "prelu", ("x",), (4, 4, 3), {}, {"slope": np.array([slope, 0.1, slope])})
    network = graph.Graph("prelu", [x, bend], "bend")
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype("float32")
    expected, found = (graph.run(each, image) for each in (network, passes.prelu_to_relu(network)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(expected[..., 0], np.where(image > 0, image, slope * image)[..., 0], atol=1e-6)


def test_the_border_is_padded_after_normalisation():
    """A black image is not zero after normalisation, so raw zeros around it would be another function."""
    image = keras.Input((8, 8, 3))
    x = blocks.normalise(image, blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
    model = keras.Model(image, blocks.conv(x, 4, 3, strides=2, name="stem"))
    black = np.zeros((1, 8, 8, 3), "uint8")
    found = graph.run(rewrite.rewrite(graph.read(model), black), black / 255)
    np.testing.assert_allclose(found, model.predict(black, verbose=0), atol=1e-5)


def test_a_dynamic_size_is_refused():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(1, 1)(image))
    with pytest.raises(ValueError, match="fixed input size"):
        graph.read(model)


def test_a_layer_may_be_used_twice(images):
    image = keras.Input((*SIZE, 3))
    twice = layers.Conv2D(3, 1, name="twice")
    model = keras.Model(image, twice(twice(image)))
    found = graph.run(graph.read(model), images / 255)
    assert difference(model.predict(images, verbose=0), found) < 1e-5


def test_the_report_names_every_pass(model):
    report = rewrite.report(graph.read(model))
    for step in STEPS:
        assert step.__name__ in report
