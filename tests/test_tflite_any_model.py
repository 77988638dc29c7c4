"""Any functional Keras model converts, as the function that it is: layers and configurations that no pass knows too."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from benchmarks import backbones
from keras_models import models
from keras_models.command import UserError
from tests.small import looks_trained, photos
from tflite import convert, graph, runtime
from tflite.graph import Graph, Node, check, keras_layers, passes, rewrite
from tflite.quantize import converter, repair

SIZE = (16, 24)


@keras.saving.register_keras_serializable(package="tests")
class Gain(layers.Layer):
    """A layer of somebody's own, with a weight."""

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="gain")

    def call(self, x):
        return x * self.gain


def relu(x):
    """A function with the name of one of Keras' own."""
    return ops.relu(x - 0.5)


def inner(channels=3, name="inner"):
    image = keras.Input((*SIZE, channels))
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    return keras.Model(image, layers.BatchNormalization(name="norm")(x), name=name)


def shared(x):
    model = inner()
    return layers.Add()([model(x), model(x * 0.5)])


def split(x):
    left, right = ops.split(layers.Conv2D(4, 3)(x), 2, axis=-1)
    return left * ops.sigmoid(right)


def colliding(x):
    """Names that a pass would make are Keras' own defaults."""
    a = layers.Conv2D(4, 1, use_bias=False, name="a")(x)
    b = layers.AveragePooling2D(1, name="batch_normalization_1")(x)
    joined = layers.Concatenate(name="joined")([a, b])
    return layers.BatchNormalization(name="batch_normalization")(joined)


def padded_behind(x):
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(8, 3)(x))
    return layers.Conv2D(2, 1)(layers.ZeroPadding2D(1)(x))


def conv(**options):
    return lambda x: layers.Conv2D(4, 3, padding="same", **options)(x)


MODELS = {
    "an activation that is a layer": conv(activation=layers.ReLU(6)),
    "an activation that is a layer with weights": conv(activation=layers.PReLU(alpha_initializer="ones")),
    "an activation of an equal name": conv(activation=relu),
    "gelu": conv(activation="gelu"),
    "elu": lambda x: layers.ELU()(conv()(x)),
    "silu": conv(activation="silu"),
    "leaky relu of slope 0": lambda x: layers.LeakyReLU(0.0)(conv()(x)),
    "relu with a threshold": lambda x: layers.ReLU(threshold=0.3)(conv()(x)),
    "relu with a maximum": lambda x: layers.ReLU(max_value=1.5)(conv()(x)),
    "prelu per pixel": lambda x: layers.PReLU(alpha_initializer="random_normal")(conv()(x)),
    "three factors": lambda x: layers.Multiply()([conv()(x) for _ in range(3)]),
    "three maxima": lambda x: layers.Maximum()([conv()(x) for _ in range(3)]),
    "an average": lambda x: layers.Average()([conv()(x) for _ in range(3)]),
    "a minimum": lambda x: layers.Minimum()([conv()(x) for _ in range(2)]),
    "a broadcast sum": lambda x: layers.Add()([conv()(x), layers.Conv2D(1, 3, padding="same")(x)]),
    "a sum with a vector": lambda x: layers.Add()([conv()(x), layers.GlobalAveragePooling2D(keepdims=True)(conv()(x))]),
    "resizing with bars": lambda x: layers.Resizing(20, 20, pad_to_aspect_ratio=True)(conv()(x)),
    "resizing cropped": lambda x: layers.Resizing(20, 20, crop_to_aspect_ratio=True)(conv()(x)),
    "padding behind an upsampling": padded_behind,
    "an even kernel with holes": lambda x: layers.DepthwiseConv2D(2, dilation_rate=2, padding="same")(conv()(x)),
    "a separable convolution": lambda x: layers.SeparableConv2D(5, 3, depth_multiplier=2, activation="relu")(x),
    "layer normalisation": lambda x: layers.LayerNormalization()(conv()(x)),
    "group normalisation": lambda x: layers.GroupNormalization(2)(conv()(x)),
    "batch normalisation of rows": lambda x: layers.BatchNormalization(axis=1)(conv()(x)),
    "softmax over rows": lambda x: conv()(layers.Softmax(axis=1)(conv()(x))),
    "a convolution of another order": lambda x: ops.transpose(
        layers.Permute((2, 3, 1))(layers.Permute((3, 1, 2))(conv()(x))), (0, 2, 1, 3)
    ),
    "operations of keras.ops": lambda x: 2 * ops.relu(3.0 - conv()(x) / 4) + ops.mean(x, axis=-1, keepdims=True),
    "an operation with two results": split,
    "an integer on the way": lambda x: ops.cast(ops.cast(conv()(x) * 2, "int32") + 1, "float32"),
    "somebody's own layer": lambda x: conv()(Gain()(conv()(x))),
    "a nested model": lambda x: layers.ReLU()(inner()(x)),
    "a nested model twice": shared,
    "a nested sequence": lambda x: keras.Sequential([layers.Conv2D(4, 3), layers.ReLU()])(x),
    "names that passes would make": colliding,
    "a classifier": lambda x: layers.Dense(7)(layers.GlobalAveragePooling2D()(conv(activation="relu")(x))),
    "a norm of a vector": lambda x: layers.Dense(7)(layers.BatchNormalization()(layers.Flatten()(conv()(x)))),
    "dense of every pixel": lambda x: layers.Dense(5, activation="relu")(conv()(x)),
    "normalised by its own layer": lambda x: conv()(layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6])(x)),
    "layers named like the graph's own": lambda x: layers.ReLU(name="bytes")(layers.Conv2D(3, 3, name="image")(x)),
    "attention": lambda x: layers.MultiHeadAttention(2, 4)(*[layers.Reshape((-1, 4))(layers.Conv2D(4, 4, 4)(x))] * 2),
    "a batch norm as in training": lambda x: layers.BatchNormalization()(conv()(x), training=False),
}


def build(make):
    keras.utils.set_random_seed(1)
    image = keras.Input((*SIZE, 3), name="photo")
    model = keras.Model(image, make(layers.Rescaling(1 / 64, -2)(image)))
    return looks_trained(model)


@pytest.mark.parametrize("name", MODELS)
def test_the_file_computes_what_the_model_does(name, tmp_path):
    model, images = build(MODELS[name]), photos(2, SIZE, seed=3)
    expected = model.predict(images, verbose=0)
    for form in (None, images):  # as float and as int8 are rewritten, both in float
        network = rewrite.rewrite(graph.read(model), form)
        (tmp_path / "net.tflite").write_bytes(converter.to_tflite(network, "float32"))
        found = check.run_file(tmp_path / "net.tflite", images / np.float32(255))
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: layers.UpSampling2D(2, interpolation="bicubic", name="odd")(x), r"'odd' .*ResizeBicubic"),
        (lambda x: ops.cast(layers.Lambda(lambda x: ops.argmax(x, -1), name="odd")(x), "float32"), r"'odd' .*Bitwise"),
        (lambda x: inner_of(layers.UpSampling2D(2, interpolation="bicubic", name="odd"))(x), "'odd'"),
    ],
    ids=["bicubic upsampling", "argmax", "nested"],
)
def test_what_built_in_operations_cannot_express_is_refused_by_the_layers_name(make, message):
    with pytest.raises(ValueError, match=message):
        converter.to_tflite(rewrite.rewrite(graph.read(build(make))), "float32")


def test_a_model_with_a_call_of_its_own_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"functional and Sequential models\. Received: Own"):
        graph.read(Own())


@pytest.mark.parametrize("break_it", ["reader", "pass", "file"])
def test_a_wrong_conversion_names_the_first_layer_that_differs(break_it, monkeypatch, tmp_path):
    model, images = build(conv(name="wrong")), photos(2, SIZE, seed=3)
    if break_it == "reader":
        monkeypatch.setattr(keras_layers, "_bias", lambda layer, channels: np.ones(channels))
        with pytest.raises(check.DifferenceError, match=r"first layer that differs is 'wrong' \(Conv2D\)"):
            check.with_keras(model, images)
        return
    network = graph.read(model)
    wrong = network.copy()
    node = wrong.nodes["wrong"]
    wrong.replace(node, node.but(bias=node["bias"] + 1))
    if break_it == "pass":
        with pytest.raises(check.DifferenceError, match=r"'spoil' changes .* first layer that differs is 'wrong'"):
            check.rewritten(network, wrong, images, (passes.merge_padding, spoil))
    else:
        (tmp_path / "net.tflite").write_bytes(converter.to_tflite(wrong, "float32"))
        with pytest.raises(check.DifferenceError, match="first layer that differs is 'wrong'"):
            check.float_file(tmp_path / "net.tflite", network, images)


def spoil(network):
    """A pass with a mistake in it."""
    network = network.copy()
    network.replace(network.nodes["wrong"], network.nodes["wrong"].but(bias=network.nodes["wrong"]["bias"] + 1))
    return network


def test_two_nodes_of_a_name_are_refused():
    image = Node("image", "input", (), (8, 8, 3))
    with pytest.raises(ValueError, match="have the name 'image'"):
        Graph("network", [image, image], "image")


def test_a_misspelt_attribute_is_an_error():
    node = Node("pool", "max_pool", ("image",), (4, 4, 3), {"size": (2, 2)})
    assert node["strides"] == (1, 1)
    with pytest.raises(KeyError, match="neither an attribute nor a weight 'sise'"):
        node["sise"]
    with pytest.raises(ValueError, match="no attribute sise"):
        node.but(sise=(3, 3))
    with pytest.raises(ValueError, match="Unknown operation 'maxpool'"):
        node.but(op="maxpool")


def test_a_new_weight_takes_the_place_of_the_old_one():
    node = Node("bn", "affine", ("image",), (4, 4, 3), {}, {"scale": np.ones(3), "offset": np.zeros(3)})
    assert node.but(offset=[1.0, 2.0, 3.0])["offset"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("interpolation", "kind"), [("nearest", "logits"), ("bilinear", "probabilities")])
def test_a_softmax_behind_an_upsampling(interpolation, kind, tmp_path):
    """Its values were called logits."""
    image = keras.Input((*SIZE, 3))
    x = layers.Conv2D(3, 3, padding="same", activation="softmax", name="head")(layers.Rescaling(1 / 64, -2)(image))
    model = keras.Model(image, layers.UpSampling2D(2, interpolation=interpolation)(x))
    model.save(tmp_path / "net.keras")
    assert convert.main([str(tmp_path / "net.keras"), "--quantize", "float32", "-o", str(tmp_path / "net.tflite")]) == 0
    segmenter, photo = runtime.Segmenter(tmp_path / "net.tflite"), photos(1, SIZE, seed=3)
    assert segmenter.kind == kind
    expected = model.predict(photo, verbose=0)[0]
    shown = segmenter.probabilities(np.kron(photo[0], np.ones((2, 2, 1), np.uint8)))
    assert np.abs(shown - expected).max() < (1e-4 if interpolation == "nearest" else 0.2)
    logits = models.predictor(tmp_path / "net.keras").logits(photo)[0]  # of the network that ends in probabilities
    np.testing.assert_allclose(ops.softmax(logits), expected, atol=1e-5)
    if kind == "probabilities":
        with pytest.raises(ValueError, match="has no logits to give"):
            convert.main([str(tmp_path / "net.keras"), "--quantize", "float32", "--output", "logits"])


def test_a_classifier_becomes_a_picture_of_one_pixel(tmp_path):
    build(MODELS["a classifier"]).save(tmp_path / "net.keras")
    assert convert.main([str(tmp_path / "net.keras"), "--quantize", "float32", "-o", str(tmp_path / "net.tflite")]) == 0
    assert runtime.Segmenter(tmp_path / "net.tflite").logits(photos(1, SIZE)[0]).shape == (1, 1, 7)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16"])
def test_a_model_of_half_precision_converts_in_float32(policy, tmp_path):
    """Its rounding was called a mistake of the conversion."""
    keras.config.set_dtype_policy(policy)
    try:
        model = build(shared)
        model.save(tmp_path / "net.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert convert.main([str(tmp_path / "net.keras"), "--quantize", "float32", "-o", str(tmp_path / "net.tflite")]) == 0
    photo = photos(1, SIZE, seed=3)
    expected = ops.convert_to_numpy(ops.cast(model(photo.astype("float32"), training=False), "float32"))
    found = check.run_file(tmp_path / "net.tflite", photo / np.float32(255))
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()
    assert models.load(tmp_path / "net.keras")(photo).dtype == "float32"


@pytest.mark.parametrize(("name", "role"), [("MobileNetV2", "encoder"), ("MobileNetV3Small", "classifier")])
def test_backbones_that_nobody_here_wrote(name, role):
    """Nested models with everything that they hold; `benchmarks.backbones` measures more of them, at 96x96."""
    row = backbones.measure(name, role, (32, 32), drawings=96)
    assert row["reason"] == ""
    assert row["rewrite_difference"] < check.LIMIT
    assert row["correlation"] > backbones.ENOUGH


def dead(x):
    """A branch that no photo reaches, in a gate, in a sum and before a convolution."""
    never = {"bias_initializer": keras.initializers.Constant(-50.0), "activation": "relu"}
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="alive")(x))
    gate = layers.Conv2D(4, 1, name="dead", **never)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
    x = layers.Add(name="sum")([x, layers.Conv2D(8, 1, name="dead_branch", **never)(x)])
    return layers.Conv2D(2, 1)(x)


def test_channels_that_no_photo_reaches_do_not_make_the_file_unusable(tmp_path):
    """XNNPACK refused the whole file for one scale."""
    model, images = build(dead), photos(8, SIZE, seed=3)
    network = rewrite.rewrite(graph.read(model), images)
    path = tmp_path / "net.tflite"
    path.write_bytes(converter.to_tflite(network, "int8", images))
    assert "dead_branch" in {name for fault in repair.faults(path, network.output) for name in fault.layers}
    with pytest.raises(runtime.ModelError, match="XNNPACK"):
        runtime.load_interpreter(path)
    content, _ = repair.to_int8(network, images)
    path.write_bytes(content)
    found, expected = check.run_file(path, images / np.float32(255)), model.predict(images, verbose=0)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def pointwise(name, source, kernel, bias, activation=None):
    weights = {"kernel": np.asarray(kernel, "float64")[None, None], "bias": np.asarray(bias, "float64")}
    return Node(name, "conv", (source,), (16, 16, len(bias)), {"activation": activation}, weights)


def never_reached(weight):
    """A large weight of a channel that is next to nothing, and a bias that then is the whole output."""
    nodes = [
        Node("image", "input", (), (16, 16, 3)),
        pointwise("few", "image", [[0.5, 0], [0.3, 0], [0.2, 1e-9]], [0, 0], "relu"),
        pointwise("large", "few", [[1e-3, 0], [0, weight]], [0, 1e-3]),
        pointwise("out", "large", [[1000], [2000]], [0]),
    ]
    return Graph("net", nodes, "out")


def test_a_weight_that_nothing_reaches_is_made_small_and_the_bias_stays(tmp_path):
    network, images = never_reached(1e4), photos(8, (16, 16), seed=3)
    path = tmp_path / "net.tflite"
    content, repaired = repair.to_int8(network, images)
    path.write_bytes(content)
    assert np.abs(repaired.nodes["large"]["kernel"]).max() < 1e3
    expected, found = graph.run(network, images / np.float32(255)), check.run_file(path, images / np.float32(255))
    assert np.abs(found - expected).max() < 0.01 * expected.max()


def test_a_repair_that_would_change_the_network_is_refused():
    with pytest.raises(UserError, match=r"refuses the file for the layer .large.*% of the largest away"):
        repair.to_int8(never_reached(1e8), photos(8, (16, 16), seed=3))


def inner_of(layer):
    image = keras.Input((*SIZE, 3))
    return keras.Model(image, layer(image), name="inner")
