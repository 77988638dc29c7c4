"""Stages as Keras fits them: schedules, auxiliary outputs, consistency, the edge class, class weights."""

import dataclasses
import json

import cv2
import keras
import numpy as np
import pytest

from keras_models import data, losses, masks, models, registry, train
from keras_models.command import UserError
from keras_models.data import drawings, pipeline
from keras_models.data.augment import Augmentation
from keras_models.training import faster, parts, recipes, stages
from keras_models.training.muon import orthogonal
from keras_models.training.recipes import Auxiliary, CrossEntropy, Recipe, Stage
from tests.test_data import make_folder


def network(channels=2):
    """8x8 photos; an auxiliary head at half the resolution."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    side = keras.layers.Conv2D(channels, 1, name="side")(x)
    main = keras.layers.UpSampling2D(2)(keras.layers.Conv2D(channels, 1)(x))
    # As `blocks.auxiliary` does, the main output keeps the other in the model.
    return keras.Model(image, keras.layers.Add()([main, keras.layers.UpSampling2D(2)(side) * 0]))


STAGE = Stage(epochs=10, learning_rate=0.1, optimizer=recipes.Adam(weight_decay=0.0), loss=CrossEntropy())
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype("uint8")
LABELS = (IMAGES[..., :1] > 127).astype("uint8")


def rate(stage, step, steps=10):
    return float(stages.schedule_of(stage, steps)(step))


def test_poly_falls_to_nothing_by_its_power():
    stage = dataclasses.replace(STAGE, schedule=recipes.PolynomialDecay(power=0.9))
    assert rate(stage, 0) == pytest.approx(0.1)
    assert rate(stage, 50) == pytest.approx(0.1 * 0.5**0.9)
    assert rate(stage, 100) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", parts.SCHEDULES.values())
def test_every_schedule_warms_up(kind):
    stage = dataclasses.replace(STAGE, schedule=kind(warmup_epochs=2))
    rates = [rate(stage, step) for step in range(20)]
    assert rates == sorted(rates) and rates[0] < 0.02 and rates[19] > 0.08
    assert rate(stage, 99) < 0.1001


@pytest.mark.parametrize("every", [{"epochs": 2}, {"iterations": 20}])
def test_step_falls_in_steps(every):
    stage = dataclasses.replace(STAGE, schedule=recipes.StepDecay(factor=0.5, **every))
    assert [rate(stage, step) for step in (0, 19, 20, 45)] == pytest.approx([0.1, 0.1, 0.05, 0.025])


@pytest.mark.parametrize("kind", parts.OPTIMIZERS.values())
def test_optimizer_of_the_stage(kind):
    stage = dataclasses.replace(STAGE, optimizer=kind(), clip_norm=2.0, ema=0.9)
    made = stages.optimizer_of(network(), stage, 1)
    assert type(made).__name__ == kind.__name__
    assert (made.global_clipnorm, made.use_ema, made.ema_momentum) == (2.0, True, 0.9)


def test_averaged_weights_are_the_moving_average_of_the_trained_ones():
    model = network()
    first = model.get_weights()
    fitted = stages.compiled(model, dataclasses.replace(STAGE, ema=0.5), 1)
    expected = None
    for _ in range(3):
        fitted.train_on_batch(IMAGES, LABELS)
        now = model.get_weights()
        expected = now if expected is None else [0.5 * a + 0.5 * b for a, b in zip(expected, now, strict=True)]
    found = stages.averaged_weights(model, fitted.optimizer)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(found, first, strict=True)) > 1e-3


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_a_copy_and_leaves_float32(precision):
    model = network()
    trained = models.copy(model, precision, kinds=faster.kinds())
    assert {layer.compute_dtype for layer in trained.layers if layer.weights} == {precision.removeprefix("mixed_")}
    assert {weight.dtype for weight in trained.weights} == {"float32"}
    for ours, theirs in zip(trained.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    fitted = stages.compiled(trained, dataclasses.replace(STAGE, ema=0.9), 1, precision)
    assert np.isfinite(loss_of(fitted, IMAGES, LABELS))
    changed = [np.abs(a - b).max() for a, b in zip(trained.get_weights(), model.get_weights(), strict=True)]
    assert max(changed) > 0
    averaged = stages.averaged_weights(trained, fitted.optimizer)
    assert all(np.isfinite(weight).all() and weight.dtype == np.float32 for weight in averaged)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has other operations")
def test_the_faster_layers_are_the_same_function():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(keras.layers.ReLU()(x)))
    rng = np.random.default_rng(3)
    model.set_weights([weight + rng.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])
    trained = models.copy(model, "float32", kinds={keras.layers.BatchNormalization: faster.FusedBatchNormalization})
    kinds = {type(layer) for layer in trained.layers}
    assert faster.FusedBatchNormalization in kinds and keras.layers.BatchNormalization not in kinds
    plain = dataclasses.replace(STAGE, optimizer=recipes.SGD(momentum=0.0, weight_decay=0.0))
    losses = [[loss_of(stages.compiled(each, plain, 1), IMAGES, LABELS) for _ in range(3)] for each in (model, trained)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for theirs, ours in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(IMAGES), trained(IMAGES), rtol=1e-3, atol=1e-4)


def my_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(keras.ops.cast(y_true, "float32") - y_pred))


@pytest.mark.parametrize("shape", [(24, 6), (6, 24)])
def test_newton_schulz_gives_all_directions_the_same_strength(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype("float32") * 1e-3
    values = np.linalg.svd(orthogonal(matrix), compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.3
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    assert np.linalg.norm(orthogonal(matrix) - left @ right) < 0.35 * np.linalg.norm(left @ right)


def test_muon_moves_dense_kernels_in_all_directions_and_the_rest_as_adamw_does():
    def moved(optimizer):
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(8, 3, padding="same", name="stem")(image)
        x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="dense")(x)
        x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
        model = keras.Model(image, keras.layers.Conv2D(1, 1, name="head")(x))
        stage = dataclasses.replace(STAGE, learning_rate=1e-2, optimizer=optimizer(weight_decay=0.0))
        before = model.get_weights()
        stages.compiled(model, stage, 1).train_on_batch(IMAGES / 255, LABELS)
        return {w.path: a - b for w, a, b in zip(model.weights, model.get_weights(), before, strict=True)}

    muon, adamw = moved(recipes.Muon), moved(recipes.AdamW)
    assert {path for path in muon if not np.allclose(muon[path], adamw[path], atol=1e-6)} == {"dense/kernel"}
    values = np.linalg.svd(muon["dense/kernel"].reshape(-1, 6), compute_uv=False)
    assert values.max() < 2.2 * values.min()
    assert np.abs(muon["dense/kernel"]).mean() < np.abs(adamw["dense/kernel"]).mean() * 1.5


def test_a_loss_of_ones_own_trains_and_comes_back_from_json():
    (stage,) = Recipe("", (STAGE,)).changed({"loss": "tests.test_stages:my_loss"}).stages
    assert recipes.from_json(Stage, json.loads(json.dumps(recipes.to_json(stage)))) == stage
    model = network()
    expected = float(my_loss(LABELS, model(IMAGES)))
    assert loss_of(stages.compiled(model, stage, 1), IMAGES, LABELS) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(UserError, match=r"There is no loss 'tests\.test_stages:missing'"):
        stages.loss_of(recipes.Own("tests.test_stages:missing"))
    with pytest.raises(UserError, match=r"--loss is cross_entropy, .*Received: 'dice'"):
        Recipe("", (STAGE,)).changed({"loss": "dice"})


def loss_of(fitted, images, labels):
    return float(fitted.train_on_batch(images, labels, return_dict=True)["loss"])


def test_auxiliary_output_adds_its_loss_at_its_own_size():
    model = network()
    stage = dataclasses.replace(STAGE, auxiliary=Auxiliary("side", 0.25))
    main, side = (keras.Model(model.input, output)(IMAGES) for output in (model.output, model.get_layer("side").output))
    expected = losses.cross_entropy(LABELS, main) + 0.25 * losses.cross_entropy(LABELS[:, ::2, ::2], side)
    fitted = stages.compiled(model, stage, 1)
    assert loss_of(fitted, IMAGES, (LABELS, LABELS)) == pytest.approx(float(expected), rel=1e-4)


def test_auxiliary_output_may_learn_the_boundary():
    labels = np.zeros((4, 8, 8, 1), "uint8")
    labels[:, :, 4:] = 1
    stage = dataclasses.replace(STAGE, auxiliary=Auxiliary("side", 1.0, recipes.Focal(), target="boundary"))
    model = network()
    main, side = (keras.Model(model.input, output)(IMAGES) for output in (model.output, model.get_layer("side").output))
    edges = losses.boundary_band(labels, stages.EDGE_KERNEL)[:, ::2, ::2]
    assert 0 < np.mean(edges) < 1
    expected = losses.cross_entropy(labels, main) + losses.focal(edges, side)
    assert loss_of(stages.compiled(model, stage, 1), IMAGES, (labels, labels)) == pytest.approx(
        float(expected), rel=1e-4
    )


def test_consistency_is_nothing_for_equal_photos_and_something_for_others():
    stage = dataclasses.replace(STAGE, consistency_weight=2.0, learning_rate=1e-12)
    model = network()
    fitted = stages.compiled(model, stage, 1)
    labels = (LABELS, LABELS)
    alone = float(losses.cross_entropy(LABELS, model(IMAGES)))
    equal = loss_of(fitted, np.concatenate([IMAGES, IMAGES], -1), labels)
    other = loss_of(fitted, np.concatenate([255 - IMAGES, IMAGES], -1), labels)
    assert equal == pytest.approx(alone, rel=1e-4)
    expected = alone + 2 * float(losses.consistency(model(255 - IMAGES), model(IMAGES)))
    assert other == pytest.approx(expected, rel=1e-4)
    assert other > equal


def test_a_teacher_has_its_share_of_the_loss_void_pixels_too():
    teacher, student = network(), network()
    teacher.set_weights([weight + 0.3 for weight in teacher.get_weights()])
    stage = dataclasses.replace(STAGE, teacher="teacher.keras", teacher_weight=0.25, learning_rate=1e-12)
    fitted = stages.compiled(student, stage, 1)
    logits = keras.ops.convert_to_numpy(teacher(IMAGES))
    taught = float(losses.consistency(logits, student(IMAGES)))
    assert taught > 0.01
    labelled = float(losses.cross_entropy(LABELS, student(IMAGES)))
    void = np.full_like(LABELS, 255)
    assert loss_of(fitted, IMAGES, (LABELS, logits)) == pytest.approx(0.75 * labelled + 0.25 * taught, rel=1e-4)
    assert loss_of(fitted, IMAGES, (void, logits)) == pytest.approx(0.25 * taught, rel=1e-4)
    assert {id(v) for v in fitted.trainable_variables} == {id(v) for v in student.trainable_variables}


def test_distillation_of_one_logit_is_the_cross_entropy_less_the_teachers_entropy():
    found, target = np.float32([[[[0.3], [-2.0]]]]), np.float32([[[[1.2], [-0.5]]]])
    p, q = (1 / (1 + np.exp(-x)) for x in (target, found))
    expected = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert float(losses.consistency(target, found)) == pytest.approx(float(expected), rel=1e-4)


PEOPLE = ("background", "person")


def test_a_teacher_whose_classes_stand_in_another_order_is_refused(tmp_path):
    registry.network("pocketnet_s").build(3, 64).save(tmp_path / "model.keras")
    (tmp_path / "card.json").write_text('{"classes": {"names": ["background", "shirt", "skirt"]}}')
    stage, model = dataclasses.replace(STAGE, teacher=str(tmp_path)), registry.network("pocketnet_s").build(3, 64)
    stages.teacher_of(stage, model, ("background", "shirt", "skirt"))
    with pytest.raises(UserError, match=r"shirt is label 1 of .* and 2 of the data"):
        stages.teacher_of(stage, model, ("background", "skirt", "shirt"))


def test_a_teacher_sees_photos_at_its_own_size_and_one_of_other_classes_is_refused(tmp_path):
    path = str(tmp_path / "s.keras")
    teacher = registry.network("pocketnet_s").build(1, 64)
    teacher.save(path)
    stage = dataclasses.replace(STAGE, teacher=path)
    photos = np.random.default_rng(0).integers(0, 256, (2, 96, 32, 3)).astype("uint8")
    found = stages.teacher_of(stage, registry.network("pocketnet_m").build(1, (96, 32)), PEOPLE)(photos)
    own = teacher.predict_on_batch(np.stack([cv2.resize(photo, (64, 64)) for photo in photos]))
    assert found.shape == (2, 96, 32, 1) and found.dtype == np.float32
    assert found[..., 0] == pytest.approx(np.stack([cv2.resize(each, (32, 96)) for each in own]), abs=1e-4)
    with pytest.raises(UserError, match=r"s.keras gives 1 channel.* pocketnet_m 3:.*background, "):
        stages.teacher_of(stage, registry.network("pocketnet_m").build(3, 64), PEOPLE)


@pytest.mark.parametrize(("given", "wanted"), [(1, 2), (2, 1)])
def test_a_foreground_in_one_channel_and_in_two_teach_each_other(given, wanted, tmp_path):
    path = str(tmp_path / "teacher.keras")
    (teacher := registry.network("pocketnet_s").build(given, 64)).save(path)
    photos = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("uint8")
    stage = dataclasses.replace(STAGE, teacher=path)
    found = stages.teacher_of(stage, registry.network("pocketnet_m").build(wanted, 64), PEOPLE)(photos)
    assert found.shape == (2, 64, 64, wanted)
    probabilities = [masks.foreground(logits) for logits in (found, teacher.predict_on_batch(photos))]
    assert np.allclose(*probabilities, atol=1e-4) and np.ptp(probabilities[0]) > 1e-3


@pytest.mark.parametrize("pairs", [False, True])
def test_a_batch_ends_with_what_the_teacher_says_of_the_photos_that_the_network_sees(pairs):
    samples = [drawings.draw(i) for i in range(8)]
    batches = pipeline.training_batches(
        samples,
        (32, 32),
        (16, 16),
        4,
        Augmentation(),
        seed=0,
        pairs=pairs,
        heads=3,
        teacher=lambda x: x[:, ::2, ::2] / np.float32(2),
    )
    images, (labels, again, taught) = next(iter(batches))
    assert labels.shape == again.shape == (4, 16, 16, 1)
    assert np.array_equal(taught, images[:, ::2, ::2, -3:] / np.float32(2))


def test_class_weights_are_the_inverse_logarithm_of_the_frequency():
    counts = np.bincount([0, 0, 0, 1, 0, 0, 0, 255], minlength=256)
    weights = stages.inverse_log_weights(counts, 3)
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


def test_every_auxiliary_layer_is_one_of_its_network():
    checked = 0
    for name in registry.names():
        for stage in (stage for recipe in registry.network(name).recipes.values() for stage in recipe.stages):
            if stage.auxiliary:
                row = registry.network(stage.network or name)
                model = row.build(2, 2 * row.multiple)
                assert model.get_layer(stage.auxiliary.layer).output.shape[-1] == 2
                checked += 1
    assert checked >= 2


def test_a_recipe_comes_back_from_json_as_it_was():
    for name in registry.names():
        for recipe in registry.network(name).recipes.values():
            assert recipes.from_json(Recipe, json.loads(json.dumps(recipes.to_json(recipe)))) == recipe


CHANGES = {  # of a stage with cross-entropy, Adam and halving
    "a number of the chosen loss": (
        {"loss": "lovasz_boundary", "boundary_kernel": 5},
        "loss",
        recipes.LovaszBoundary(5),
    ),
    "a loss without class weights": ({"loss": "lovasz"}, "loss", recipes.Lovasz()),
    "a schedule of steps": ({"schedule": "step"}, "schedule", recipes.StepDecay(warmup_epochs=3)),
    "a warm-up for halving": ({"warmup_epochs": 5}, "schedule", recipes.Halve(warmup_epochs=5)),
    "fewer epochs than the warm-up": ({"epochs": 2}, "schedule", recipes.Halve(warmup_epochs=0)),
    "both": ({"epochs": 2, "warmup_epochs": 1}, "schedule", recipes.Halve(warmup_epochs=1)),
    "a side": ({"input_size": (32,)}, "input_size", (32, 32)),
}
WARM = dataclasses.replace(STAGE, schedule=recipes.Halve(warmup_epochs=3), loss=CrossEntropy("inverse_log"))


@pytest.mark.parametrize("change", CHANGES)
def test_a_flag_replaces_a_number(change):
    changes, part, expected = CHANGES[change]
    (stage,) = Recipe("", (WARM,)).changed(changes).stages
    assert getattr(stage, part) == expected


REFUSED = {
    "a number of another loss": ({"boundary_kernel": 5}, "--boundary-kernel is a number of lovasz_boundary"),
    "a number of the loss replaced": (
        {"loss": "focal", "iou_weight": 1.0},
        "--iou-weight is a number of cross_entropy_iou",
    ),
    "a number of another schedule": ({"final_learning_rate": 0.1}, "--final-learning-rate is a number of cosine"),
    "no number": ({"learning_rate": float("nan")}, "--learning-rate must be above 0. Received: nan"),
    "a scale of one": ({"scale": (0.5,)}, "--scale takes the smallest and the largest"),
    "a scale upside down": ({"scale": (1.5, 0.5)}, "--scale takes the smallest and the largest"),
    "a scale of nothing": ({"scale": (0.0, 1.0)}, "--scale must be above 0"),
    "a shift that is no number": ({"shift": float("nan")}, "--shift must be at least 0"),
    "halving outside the stage": ({"halve_at": (2.0, -1.0)}, "--halve-at must be above 0 and below 1"),
    "an even kernel": ({"loss": "lovasz_boundary", "boundary_kernel": 4}, "--boundary-kernel must be odd"),
    "a warm-up as long as all": ({"warmup_epochs": 10}, "A warm-up of 10 epochs does not fit into 10"),
    "no batch": ({"batch_size": 0}, "--batch-size must be at least 1"),
    "too large": ({"input_size": (100_000,)}, "--input-size must be at least 1 and at most 8192"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_flag_that_would_do_nothing_or_harm_is_refused(change):
    changes, message = REFUSED[change]
    with pytest.raises(UserError, match=message):
        Recipe("", (WARM,)).changed(changes)


STAGED = [
    (name, next(stage.network for stage in recipe.stages))
    for name in registry.names()
    for recipe in registry.network(name).recipes.values()
    if len({stage.network for stage in recipe.stages}) > 1
]


@pytest.mark.parametrize(("name", "first"), dict.fromkeys(STAGED))
def test_a_stage_hands_nearly_all_its_weights_to_the_next(name, first):
    first, second = (
        registry.build(each, classes=2, input_size=2 * registry.network(name).multiple) for each in (first, name)
    )
    for model, value in ((first, 1.0), (second, 0.0)):
        model.set_weights([np.full(weight.shape, value) for weight in model.get_weights()])
    models.transfer(first, second)
    handed = sum(int(weight.sum()) for weight in second.get_weights())
    assert handed > 0.95 * first.count_params()


def test_iterations_stand_for_epochs_until_epochs_are_given():
    options = train.TrainOptions(network="lipnet", dataset="ccp_parts")
    assert train.choose_recipe(options).stages[0].iterations == 20_000
    given = train.choose_recipe(dataclasses.replace(options, changes={"epochs": 2})).stages[0]
    assert (given.epochs, given.iterations) == (2, 0)


def test_classifiers_are_not_trained_here(tmp_path):
    with pytest.raises(UserError, match="classifies whole photos"):
        train.main(["drn_c_26_imagenet", "--output", str(tmp_path / "run")])


PAIRS = Stage(loss=CrossEntropy(), consistency_weight=2.0)


@pytest.mark.parametrize(
    "stage", [registry.network("eoam").recipes["code"].stages[0], PAIRS], ids=["edge class", "consistency"]
)
def test_special_recipes_train_from_end_to_end(stage, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.network("eoam").recipes, "paper", Recipe("", (stage,)))
    folder = make_folder(tmp_path / "photos", 12)
    arguments = ["eoam", "--dataset", "folder", "--data-dir", str(folder), "--recipe", "paper", "--epochs", "1"]
    arguments += ["--input-size", "32", "--batch-size", "5", "--output", str(tmp_path / "run")]
    assert train.main(arguments) == 0
    assert (tmp_path / "run" / "preview.png").is_file()
