"""A trained network made narrower: which channels stay, and what becomes of the others."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_models as km
from keras_models import prune, registry, train
from keras_models.command import UserError
from tflite.quantize import finetune

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype("uint8")


def network(width, hidden, name="wide"):
    """A stem, an inverted residual block, and a head: channels that an addition joins, and some that it does not."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(width, 3, 2, "same", activation="relu", name="stem")(layers.Rescaling(1 / 255)(image))
    y = layers.Conv2D(hidden, 1, use_bias=False, name="expand")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn")(y))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.Conv2D(width, 1, name="project")(y)
    x = layers.Conv2D(1, 3, padding="same", name="head")(layers.Add()([x, y]))
    return keras.Model(image, layers.UpSampling2D(2)(x), name=name)


def doubled(narrow, wide):
    """Gives `wide` the function of `narrow`: every channel twice, in a mixed order, each half as strong when read."""
    rng = np.random.default_rng(1)
    stream, inside = (np.tile(np.arange(n), 2)[rng.permutation(2 * n)] for n in (6, 10))
    for layer in wide.layers:
        if not layer.weights:
            continue
        values = narrow.get_layer(layer.name).get_weights()
        reads = {"expand": stream, "project": inside, "head": stream}.get(layer.name)
        if reads is not None:
            values[0] = values[0][..., reads, :] / 2
        gives = {"stem": stream, "project": stream, "head": [0]}.get(layer.name, inside)
        depthwise = layer.name == "depthwise"
        layer.set_weights([w[:, :, gives] if depthwise and w.ndim == 4 else w[..., gives] for w in values])


def test_channels_that_say_the_same_twice_are_kept_once_and_nothing_is_lost():
    keras.utils.set_random_seed(0)
    first, wide, narrow = network(6, 10), network(12, 20), network(6, 10, "narrow")
    for weight in first.get_layer("bn").weights:
        weight.assign(1 + np.random.default_rng(2).random(weight.shape))
    doubled(first, wide)
    expected = wide.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(expected, first.predict(IMAGES, verbose=0), atol=1e-4)
    assert "of wide's" in prune.prune(wide, narrow, IMAGES)
    np.testing.assert_allclose(narrow.predict(IMAGES, verbose=0), expected, atol=5e-3 * np.abs(expected).max())


def test_the_same_widths_give_the_same_network():
    keras.utils.set_random_seed(0)
    one, other = network(6, 10), network(6, 10, "narrow")
    prune.prune(one, other, IMAGES)
    np.testing.assert_array_equal(one.predict(IMAGES, verbose=0), other.predict(IMAGES, verbose=0))


def test_a_channel_that_carries_nothing_goes_first():
    keras.utils.set_random_seed(0)
    wide, narrow = network(6, 10), network(6, 8, "narrow")
    kernel, bias = wide.get_layer("project").get_weights()
    kernel[..., [2, 7], :] = 0
    wide.get_layer("project").set_weights([kernel, bias])
    prune.prune(wide, narrow, IMAGES)
    np.testing.assert_allclose(narrow.predict(IMAGES, verbose=0), wide.predict(IMAGES, verbose=0), atol=1e-5)


def joined():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 1, name="stem")(image)
    return keras.Model(image, layers.Conv2D(1, 1, name="head")(layers.Concatenate()([x, x])), name="joined")


def grouped():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 1, groups=2, name="head")(layers.Conv2D(4, 1, name="stem")(image))
    return keras.Model(image, x, name="grouped")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda: network(6, 12), "expand has 12 channels here, 10 there"),
        (joined, "joins or splits channels"),
        (grouped, "head is a convolution in groups"),
        (lambda: registry.network("pocketnet_plain").build(1, 32), "which has no layer stage1_down"),
    ],
)
def test_what_cannot_be_pruned_is_named(target, message):
    with pytest.raises(ValueError, match=message):
        prune.prune(network(6, 10), target(), IMAGES)


def test_the_command_writes_what_train_begins_from(tmp_path, capsys):
    folder = tmp_path / "pruned"
    prune.main(f"pocketnet-l pocketnet_m --photos 2 -o {folder}".split())
    assert f"train pocketnet_m --weights {folder}" in capsys.readouterr().out
    made, card = km.models.load(folder), km.models.card(folder)
    assert made.name == "pocketnet_m" and made.output_shape == (None, 192, 192, 1)
    assert card["command"] == "python -m keras_models.prune pocketnet-l pocketnet_m --dataset drawings --photos 2"
    assert card["began_from"]["name"] == "pocketnet-l" and card["licence"] == km.models.card("pocketnet-l")["licence"]
    recipe = list(registry.network("pocketnet_m").recipes.values())[-1]  # nothing has trained it yet
    assert finetune.last_stage(folder / "model.keras", "pocketnet_m")["augmentation"] == recipe.stages[-1].augmentation
    train.main(
        f"pocketnet_m --weights {folder} --dataset drawings --recipe drawings --epochs 1 --input-size 32 "
        f"--output {tmp_path / 'run'}".split()
    )
    assert "93 of 93 layers; none starts anew" in capsys.readouterr().out
    prune.main(f"{tmp_path / 'run'} pocketnet_s --photos 2 -o {tmp_path / 'again'}".split())
    run = km.models.card(tmp_path / "again")["began_from"]
    assert run["command"].startswith("python -m keras_models.train pocketnet_m") and run["epochs"] == 1
    assert run["began_from"]["began_from"]["name"] == "pocketnet-l"


def test_the_command_says_what_is_wrong_and_writes_nothing(tmp_path):
    folder = tmp_path / "pruned"
    with pytest.raises(UserError, match="no narrower pocketnet_l, which has no layer level1"):
        prune.main(f"pocketnet-l espnet --photos 1 -o {folder}".split())
    with pytest.raises(UserError, match="Unknown network"):
        prune.main(f"pocketnet-l nothing -o {folder}".split())
    assert not folder.exists()
