"""What the papers draw of a network, on tiny ones."""

import keras
import numpy as np
import pytest

from keras_models import pictures, visualise
from keras_models.command import UserError
from keras_models.data.images import read_image
from tests.test_data import write

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def segmenter(classes=3):
    image = keras.Input((16, 24, 3))
    x = keras.layers.Conv2D(5, 3, strides=4, padding="same", name="deep")(image)
    return keras.Model(image, keras.layers.UpSampling2D(4)(keras.layers.Conv2D(classes, 1)(x)), name="tiny")


def classifier():
    image = keras.Input((16, 24, 3))
    x = keras.layers.Conv2D(5, 3, strides=4, padding="same", name="deep")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(7, bias_initializer="ones")(x), name="tiny_classifier")


def test_mean_features_are_the_layers_mean_over_its_channels():
    model = segmenter()
    assert visualise.deepest(model) in ("deep", model.layers[-2].name)
    values = visualise.mean_features(model, PHOTO, "deep")
    assert values.shape == (4, 6)
    image = visualise._run(model, model.input, PHOTO)
    expected = keras.ops.convert_to_numpy(model.get_layer("deep")(image[None]))[0].mean(-1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    with pytest.raises(UserError, match="tiny has no layer 'deeep'"):
        visualise.mean_features(model, PHOTO, "deeep")


def test_a_classifiers_activation_map_has_its_logit_as_mean():
    model = classifier()
    values, label = visualise.activation(model, PHOTO)
    image = visualise._run(model, model.input, PHOTO)
    logits = keras.ops.convert_to_numpy(model(image[None]))[0]
    assert label == logits.argmax()
    assert values.mean() == pytest.approx(logits[label] - 1, rel=1e-3)
    with pytest.raises(UserError, match="--label is below 7"):
        visualise.activation(model, PHOTO, 7)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_segmenters_activation_is_a_logit(classes):
    values, label = visualise.activation(segmenter(classes), PHOTO)
    assert values.shape == (16, 24)
    assert (label > 0) == (classes > 1)


def test_heat_is_blue_where_low_and_yellow_where_high():
    colors = visualise.heat(np.array([[0.0, 1.0]]))
    assert colors[0, 0, 2] > colors[0, 0, 0]
    assert min(colors[0, -1, :2]) > colors[0, -1, 2]


def test_a_long_caption_ends_within_its_tile():
    line = pictures.caption(np.full((10, 100, 3), 255, np.uint8), "0.928 " + "extremec3-eg1800-int8")[10:]
    assert line.min() < 128
    assert line[:, -3:].min() == 255


def test_a_map_keeps_its_shape():
    assert visualise.heat(np.zeros((30, 20))).shape == (256, 171, 3)


@pytest.mark.parametrize("what", ["features", "activation"])
def test_networks_stand_below_each_other(tmp_path, what):
    write(tmp_path / "photo.png", PHOTO)
    for name in ("a", "b"):
        segmenter().save(tmp_path / f"{name}.keras")
    arguments = [
        what,
        *(str(tmp_path / f"{name}.keras") for name in ("a", "b")),
        "--photo",
        str(tmp_path / "photo.png"),
    ]
    assert visualise.main([*arguments, "-o", str(tmp_path / "out.png")]) == 0
    assert read_image(tmp_path / "out.png").shape == (2 * (256 + 20), 3 * 256, 3)


def test_runs_converge_in_one_plot(tmp_path):
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text(
            "stage,epoch,loss,val_mean_iou,seconds\n1,1,0.5,0.6,9\n1,2,0.4,0.7,9\n"
        )
    folders = [str(tmp_path / name) for name in ("with", "without")]
    lines = visualise.draw_runs(folders).axes[1].lines
    assert [line.get_label() for line in lines] == ["with", "without"]
    assert list(lines[0].get_ydata()) == [0.6, 0.7]
    assert visualise.main(["runs", *folders, "-o", str(tmp_path / "runs.png")]) == 0
    assert (tmp_path / "runs.png").stat().st_size > 5000
    with pytest.raises(UserError, match=r"history\.csv is no history"):
        visualise.main(["runs", str(tmp_path)])


def test_accuracy_against_multiply_accumulates(tmp_path):
    (tmp_path / "mine.json").write_text(
        '{"title": "mine", "parameters": 9, "macs": 5e7, "foreground_iou": 0.95, "data": "eg1800 test"}'
    )
    assert visualise.main(["flops", "--results", str(tmp_path), "-o", str(tmp_path / "flops.png")]) == 0
    assert (tmp_path / "flops.png").stat().st_size > 5000


def test_what_is_missing_is_said_before_anything_is_loaded(tmp_path):
    with pytest.raises(UserError, match="features needs one SOURCE"):
        visualise.main(["features"])
    with pytest.raises(UserError, match="activation needs --photo"):
        visualise.main(["activation", "extremec3-eg1800"])


def test_a_network_is_looked_into_at_another_size_with_its_own_weights(tmp_path):
    model = visualise.load("extremec3_coarse", (32,))
    assert model.input_shape[1:3] == (32, 32)
    model.save(tmp_path / "small.keras")
    larger = visualise.load(str(tmp_path / "small.keras"), (32, 48))
    assert larger.input_shape[1:3] == (32, 48)
    for a, b in zip(model.get_weights(), larger.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match="multiples of 4"):
        visualise.load("extremec3_coarse", (30, 30))
