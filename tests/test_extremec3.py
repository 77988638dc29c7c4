"""ExtremeC3Net is the paper's: its dilations, its sizes, and what `build` promises of it."""

import keras
import numpy as np
import pytest

import keras_models
from keras_models import blocks, complexity

# Table 1 of the paper: the dilations of the blocks B1, B2, B3 in each module.
TABLE_1 = {
    "l1": (1, 2, 3),
    "l2": (1, 3, 4),
    "l3": (1, 3, 5),
    "l4": (2, 4, 8),
    "l5": (2, 4, 8),
    "l6": (2, 4, 8),
    "l7": (2, 4, 8),
    "l8": (2, 4, 8),
}


def test_dilations_are_those_of_table_1():
    model = keras_models.build("extremec3")
    for module, dilations in TABLE_1.items():
        for branch, dilation in enumerate(dilations, start=1):
            assert model.get_layer(f"{module}_c3_{branch}_depthwise").dilation_rate == (dilation, dilation)
            if dilation > 1:
                k = 2 * dilation - 1
                assert model.get_layer(f"{module}_c3_{branch}_vertical").kernel_size == (k, 1)
                assert model.get_layer(f"{module}_c3_{branch}_horizontal").kernel_size == (1, k)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"), [("extremec3", 37_738, 0.1278e9), ("extremec3_coarse", 33_178, 0.0978e9)]
)
def test_size_is_the_published_one(name, parameters, macs):
    counted = complexity.count(keras_models.build(name))
    assert counted.parameters == parameters
    assert counted.macs == pytest.approx(macs, abs=5e4)


def test_one_logit_per_pixel_from_rgb_bytes():
    model = keras_models.build("extremec3", input_size=(64, 96))
    image = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    logits = keras.ops.convert_to_numpy(model(image))
    assert logits.shape == (2, 64, 96, 1)
    assert np.isfinite(logits).all()
    assert keras_models.build("extremec3_coarse", input_size=(64, 96)).output_shape == (None, 16, 24, 1)
    assert keras_models.build("extremec3", classes=5, input_size=(64, 96)).output_shape == (None, 64, 96, 5)


def test_normalisation_is_inside():
    model = keras_models.build("extremec3", input_size=(32, 32))
    layer = keras.Model(model.input, model.get_layer("normalise").output)
    image = np.broadcast_to(np.float32(blocks.PORTRAIT_MEAN), (1, 32, 32, 3))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(image)), 0, atol=1e-5)


def test_weights_survive_a_save(tmp_path):
    model = keras_models.build("extremec3", input_size=(32, 32))
    model.save(tmp_path / "model.keras")
    again = keras_models.build("extremec3", input_size=(32, 32), weights=tmp_path / "model.keras")
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(image), again(image))
    other = keras_models.build("extremec3", weights=tmp_path / "model.keras", classes=3)
    assert other.output_shape == (None, 32, 32, 3)


def test_names_and_sizes_that_do_not_work_are_explained():
    with pytest.raises(ValueError, match=r"Did you mean 'extremec3'.*Valid names: .*Received: 'extremec'"):
        keras_models.build("extremec")
    with pytest.raises(ValueError, match=r"multiples of 4; the nearest that works is 224x100"):
        keras_models.build("extremec3", input_size=(225, 101))
    with pytest.raises(ValueError, match="at least one class"):
        keras_models.build("extremec3", classes=0)


def test_aligned_bilinear_upsampling_is_linear_interpolation_between_the_corners():
    ramp = np.arange(4, dtype=np.float32)[None, :, None, None] + np.zeros((1, 4, 3, 2), np.float32)
    up = keras.ops.convert_to_numpy(blocks.BilinearUpsampling(2)(ramp))
    assert up.shape == (1, 8, 6, 2)
    np.testing.assert_allclose(up[0, :, 0, 0], np.linspace(0, 3, 8), atol=1e-6)


def test_row_depthwise_convolution_is_the_stock_one():
    x = np.random.default_rng(0).normal(size=(2, 9, 11, 5)).astype(np.float32)
    row = blocks.RowDepthwiseConv2D((1, 5), padding="same", use_bias=False)
    stock = keras.layers.DepthwiseConv2D((1, 5), padding="same", use_bias=False)
    row.build(x.shape)
    stock.build(x.shape)
    stock.set_weights(row.get_weights())
    np.testing.assert_allclose(row(x), stock(x), atol=1e-5)
