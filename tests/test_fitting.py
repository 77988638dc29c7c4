"""Stages as Keras fits them: schedules, auxiliary outputs, consistency, the edge class, class weights."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_models import data, losses, registry, train
from keras_models.command import UserError
from keras_models.data import pipeline
from keras_models.training import stages
from keras_models.training.recipes import RECIPES, Recipe, Stage
from tests.test_data import make_folder


def network(channels=2):
    """8x8 photos; an auxiliary head at half the resolution."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    side = keras.layers.Conv2D(channels, 1, name="side")(x)
    main = keras.layers.UpSampling2D(2)(keras.layers.Conv2D(channels, 1)(x))
    # As `blocks.auxiliary` does, the main output keeps the other in the model.
    return keras.Model(image, keras.layers.Add()([main, keras.layers.UpSampling2D(2)(side) * 0]))


STAGE = Stage("", epochs=10, learning_rate=0.1, weight_decay=0.0, loss="cross_entropy")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("uint8")
LABELS = (IMAGES[..., :1] > 127).astype("uint8")


def rate(stage, step, steps=10):
    return float(stages.optimizer_of(network(), stage, steps)._learning_rate(step))


def test_poly_falls_to_nothing_by_its_power():
    stage = dataclasses.replace(STAGE, schedule="poly", power=0.9)
    assert rate(stage, 0) == pytest.approx(0.1)
    assert rate(stage, 50) == pytest.approx(0.1 * 0.5**0.9)
    assert rate(stage, 100) == pytest.approx(0, abs=1e-9)


def test_poly_may_warm_up():
    stage = dataclasses.replace(STAGE, schedule="poly", warmup_epochs=1)
    assert rate(stage, 4) == pytest.approx(0.1 * (1 - 0.04) ** 0.9 * 0.5)
    assert rate(stage, 50) == pytest.approx(0.1 * 0.5**0.9)


@pytest.mark.parametrize("every", [{"step_epochs": 2}, {"step_iterations": 20}])
def test_step_falls_in_steps(every):
    stage = dataclasses.replace(STAGE, schedule="step", step_factor=0.5, **every)
    assert [rate(stage, step) for step in (0, 19, 20, 45)] == pytest.approx([0.1, 0.1, 0.05, 0.025])


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
def test_optimizer(optimizer, kind):
    assert type(stages.optimizer_of(network(), dataclasses.replace(STAGE, optimizer=optimizer), 1)).__name__ == kind


def loss_of(fitted, images, labels):
    return float(fitted.train_on_batch(images, labels, return_dict=True)["loss"])


def test_auxiliary_output_adds_its_loss_at_its_own_size():
    model = network()
    stage = dataclasses.replace(STAGE, auxiliary_layer="side", auxiliary_weight=0.25)
    main, side = (keras.Model(model.input, output)(IMAGES) for output in (model.output, model.get_layer("side").output))
    expected = losses.cross_entropy(main, LABELS) + 0.25 * losses.cross_entropy(side, LABELS[:, ::2, ::2])
    fitted = stages.compiled(model, stage, 1)
    assert loss_of(fitted, IMAGES, (LABELS, LABELS)) == pytest.approx(float(expected), rel=1e-4)


def test_auxiliary_output_may_learn_the_boundary():
    labels = np.zeros((4, 8, 8, 1), "uint8")
    labels[:, :, 4:] = 1
    stage = dataclasses.replace(
        STAGE, auxiliary_layer="side", auxiliary_loss="focal", auxiliary_target="boundary", auxiliary_weight=1.0
    )
    model = network()
    main, side = (keras.Model(model.input, output)(IMAGES) for output in (model.output, model.get_layer("side").output))
    edges = losses.boundary_band(labels, stages.EDGE_KERNEL)[:, ::2, ::2]
    assert 0 < np.mean(edges) < 1
    expected = losses.cross_entropy(main, labels) + losses.focal(side, edges)
    assert loss_of(stages.compiled(model, stage, 1), IMAGES, (labels, labels)) == pytest.approx(
        float(expected), rel=1e-4
    )


def test_consistency_is_nothing_for_equal_photos_and_something_for_others():
    stage = dataclasses.replace(STAGE, consistency_weight=2.0, learning_rate=0.0)
    model = network()
    fitted = stages.compiled(model, stage, 1)
    labels = (LABELS, LABELS)
    alone = float(losses.cross_entropy(model(IMAGES), LABELS))
    equal = loss_of(fitted, np.concatenate([IMAGES, IMAGES], -1), labels)
    other = loss_of(fitted, np.concatenate([255 - IMAGES, IMAGES], -1), labels)
    assert equal == pytest.approx(alone, rel=1e-4)
    expected = alone + 2 * float(losses.consistency(model(IMAGES), model(255 - IMAGES)))
    assert other == pytest.approx(expected, rel=1e-4)
    assert other > equal


def test_class_weights_are_the_inverse_logarithm_of_the_frequency():
    counts = np.array([6, 1, 0])
    weights = stages.inverse_log_weights(counts)
    assert weights == pytest.approx([1 / np.log(1.1 + 6 / 7), 1 / np.log(1.1 + 1 / 7), 1 / np.log(1.1)])


def test_edge_class_is_the_foregrounds_inner_band():
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 1
    labels[0, 0] = 255
    found = pipeline.with_edge_class(labels, 1)
    assert (found[3:6, 3:6] == 1).all()
    assert (found == 2).sum() == 16
    assert found[0, 0] == 255
    assert pipeline.with_edge_class(labels, 0) is labels


def test_pairs_show_one_warp_in_two_colours(tmp_path):
    dataset = data.load("folder", make_folder(tmp_path), "train")
    samples = pipeline.cache(dataset, (32, 32))
    calm = data.Augmentation(probability=0.0)
    batches = pipeline.training_batches(samples, (32, 32), (32, 32), 4, calm, seed=0, pairs=True)
    images = next(iter(batches))[0].numpy()
    assert images.shape == (4, 32, 32, 6)
    np.testing.assert_array_equal(images[..., :3], images[..., 3:])
    wild = data.Augmentation(probability=1.0)
    images = next(iter(pipeline.training_batches(samples, (32, 32), (32, 32), 4, wild, seed=0, pairs=True)))[0].numpy()
    assert np.abs(images[..., :3].astype(int) - images[..., 3:]).mean() > 1


def test_every_recipe_is_one_that_training_understands():
    """Each stage's losses, optimizer and schedule exist, and its auxiliary layer is one of the network's."""
    checked = 0
    for recipes in RECIPES.values():
        for stage in (stage for recipe in recipes.values() for stage in recipe.stages):
            assert stage.loss in losses.LOSSES
            assert stage.auxiliary_loss in losses.LOSSES
            assert stage.optimizer in ("adam", "adamw", "sgd")
            assert stages.optimizer_of(network(), stage, 10)
            if stage.auxiliary_layer:
                size = registry.network(stage.network).multiple
                model = registry.build(stage.network, classes=2, input_size=(2 * size, 2 * size))
                assert model.get_layer(stage.auxiliary_layer).output.shape[-1] == 2
                checked += 1
    assert checked >= 2


STAGED = [name for name in RECIPES for recipe in RECIPES[name].values() if len({s.network for s in recipe.stages}) > 1]


@pytest.mark.parametrize("name", STAGED)
def test_a_stage_hands_nearly_all_its_weights_to_the_next(name):
    first, second = (
        registry.build(stage.network, classes=2, input_size=(2 * registry.network(name).multiple,) * 2)
        for stage in RECIPES[name]["paper"].stages
    )
    for model, value in ((first, 1.0), (second, 0.0)):
        model.set_weights([np.full(weight.shape, value) for weight in model.get_weights()])
    train._set_weights(second, train._weights_by_layer(first))
    handed = sum(int(weight.sum()) for weight in second.get_weights())
    assert handed > 0.95 * first.count_params()


def test_iterations_stand_for_epochs_until_epochs_are_given():
    options = train.TrainOptions(network="lipnet", dataset="ccp_parts")
    assert train.choose_recipe(options).stages[0].iterations == 20_000
    given = train.choose_recipe(dataclasses.replace(options, epochs=2)).stages[0]
    assert (given.epochs, given.iterations) == (2, 0)


def test_classifiers_are_not_trained_here(tmp_path):
    with pytest.raises(UserError, match="classifies whole photos"):
        train.main(["drn_c_26_imagenet", "--output", str(tmp_path / "run")])


PAIRS = Stage("eoam", epochs=1, loss="cross_entropy", consistency_weight=2.0)


@pytest.mark.parametrize("stage", [RECIPES["eoam"]["paper"].stages[0], PAIRS], ids=["edge class", "consistency"])
def test_special_recipes_train_from_end_to_end(stage, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES["eoam"], "paper", Recipe("", (stage,)))
    folder = make_folder(tmp_path / "photos", 12)
    arguments = ["eoam", "--dataset", "folder", "--data-dir", str(folder), "--recipe", "paper", "--epochs", "1"]
    arguments += ["--input-size", "32", "--batch-size", "5", "--output", str(tmp_path / "run")]
    assert train.main(arguments) == 0
    assert (tmp_path / "run" / "preview.png").is_file()
