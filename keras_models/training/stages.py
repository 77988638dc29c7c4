"""A recipe's stage as Keras fits it: losses, auxiliary outputs, optimizer, learning rate and weight decay."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

import cv2
import keras
import numpy as np

from keras_models import losses, models, registry
from keras_models.command import UserError
from keras_models.data.images import prepare_image
from keras_models.training import recipes
from keras_models.training.muon import Muon
from keras_models.training.recipes import Stage

EDGE_KERNEL = 5  # pixels: PortraitNet's code draws its boundary four wide


def with_class_weights(stage: Stage, counts: np.ndarray, classes: int) -> Stage:
    """The stage with numbers in the place of `inverse_log`; `counts` are the pixels of each label, `classes` or more.

    UserError when the loss has another number of weights than there are classes.
    """
    weights = getattr(stage.loss, "class_weights", None)
    if weights == "inverse_log":
        weights = inverse_log_weights(counts, classes)
    if weights is None:
        return stage
    if len(weights) != classes:
        raise UserError(f"The loss has {len(weights)} class weights, the data {classes} classes.")
    return dataclasses.replace(stage, loss=dataclasses.replace(stage.loss, class_weights=weights))


def inverse_log_weights(counts: np.ndarray, classes: int) -> tuple[float, ...]:
    """1 / ln(1.10 + frequency) of each class of which there are `counts` pixels: ERFNet's class weights."""
    counts = counts[:classes]
    return tuple(float(weight) for weight in 1 / np.log(1.10 + counts / max(1, counts.sum())))


def loss_of(spec) -> keras.losses.Loss:
    """The loss of `keras_models.losses` that an object of `recipes` stands for, or one's own.

    UserError when there is no such function.
    """
    if isinstance(spec, recipes.Own):
        try:
            own = registry.from_outside(spec.function)
        except ValueError as error:
            raise UserError(f"There is no loss {spec.function!r}: {error}") from error
        return own() if isinstance(own, type) else own
    return getattr(losses, type(spec).__name__)(**dataclasses.asdict(spec))


def compiled(model: keras.Model, stage: Stage, steps: int, precision: str = "float32") -> keras.Model:
    """The model to fit, with the stage's optimizer and losses; an epoch is `steps` steps.

    It is `model` itself, or shares its weights and has one more output for each auxiliary loss.
    """
    terms = [(loss_of(stage.loss), 1 - stage.teacher_weight if stage.teacher else 1.0)]
    fitted = model
    if stage.auxiliary:
        fitted = keras.Model(model.input, [model.output, model.get_layer(stage.auxiliary.layer).output])
        terms.append((_auxiliary_loss(stage.auxiliary), stage.auxiliary.weight))
    if stage.consistency_weight:
        pair = keras.Input((*model.input_shape[1:3], 6), name="pair")
        heads = keras.tree.flatten(fitted(pair[..., 3:]))
        both = keras.ops.concatenate([heads[0], model(pair[..., :3])], axis=-1)
        fitted = keras.Model(pair, [*heads, both])
        terms.append((_consistency_loss, stage.consistency_weight))
    if stage.teacher:  # the last head: its labels are the teacher's logits
        fitted = keras.Model(fitted.input, [*keras.tree.flatten(fitted.outputs), fitted.outputs[0]])
        terms.append((_teacher_loss, stage.teacher_weight))
    if len(terms) == 1:
        loss, weights = terms[0][0], None
    else:
        loss, weights = ([term[i] for term in terms] for i in (0, 1))
    optimizer = optimizer_of(model, stage, steps)
    if precision == "mixed_float16":  # else small gradients vanish
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # XLA makes depthwise convolutions several times slower on a CPU.
    jit = keras.backend.backend() == "jax"
    fitted.compile(optimizer, loss, loss_weights=weights, jit_compile=jit, auto_scale_loss=False)
    return fitted


def _auxiliary_loss(auxiliary: recipes.Auxiliary):
    function = loss_of(auxiliary.loss)

    def loss(y_true, y_pred):
        if auxiliary.target == "boundary":
            y_true = losses.boundary_band(y_true, EDGE_KERNEL)
        step = y_true.shape[1] // y_pred.shape[1]
        return function.call(y_true[:, ::step, ::step], y_pred)

    return loss


def teacher_of(stage: Stage, model: keras.Model, class_names: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """The stage's teacher: float32 logits at the output size of `model` of uint8 RGB photos (batch, height, width, 3).

    It looks at the photos at its own size, whatever theirs: a network sees best at the size it was trained for.
    A foreground's one channel and the two of background and foreground teach each other. UserError where it has
    other classes than `model`, or those of the data, `class_names`, in another order.
    """
    teacher, size, channels = models.predictor(stage.teacher), model.output_shape[1:3], model.output_shape[-1]
    alone = threading.Lock()  # batches may be made by several threads

    def logits(images: np.ndarray) -> np.ndarray:
        images = np.stack([prepare_image(image, teacher.input_size) for image in images])
        with alone:
            found = _in_channels(teacher.logits(images), channels)
        resized = [cv2.resize(each, size[::-1], interpolation=cv2.INTER_LINEAR) for each in found]
        return np.float32(resized).reshape(len(images), *size, found.shape[-1])

    taught = logits(np.zeros((1, *model.input_shape[1:3], 3), np.uint8)).shape[-1]
    if taught != channels:
        raise UserError(
            f"{stage.teacher} gives {taught} channel(s) of logits, {model.name} {channels}: a teacher needs the same "
            f"classes. Its own are: {', '.join(teacher.class_names[:6])}."
        )
    if taught > 2:
        models.require_same_order(stage.teacher, teacher.class_names, "the data", class_names)
    return logits


def _in_channels(logits: np.ndarray, channels: int) -> np.ndarray:
    """The same probabilities by one channel or by two, where `logits` has the other; else `logits`."""
    if (logits.shape[-1], channels) == (1, 2):
        return np.concatenate([np.zeros_like(logits), logits], axis=-1)
    if (logits.shape[-1], channels) == (2, 1):
        return logits[..., 1:] - logits[..., :1]
    return logits


def _teacher_loss(y_true, y_pred):
    return losses.consistency(y_true, y_pred)[None]  # see `losses._Loss.call`


def _consistency_loss(y_true, y_pred):
    channels = y_pred.shape[-1] // 2
    return losses.consistency(y_pred[..., channels:], y_pred[..., :channels])[None]  # see `losses._Loss.call`


def optimizer_of(model: keras.Model, stage: Stage, steps: int) -> keras.Optimizer:
    """The stage's optimizer for the variables of `model`; its L2 weight decay is set on them."""
    spec = stage.optimizer
    options = {"learning_rate": schedule_of(stage, steps), "global_clipnorm": stage.clip_norm or None}
    if stage.ema:
        options |= {"use_ema": True, "ema_momentum": stage.ema}
    if isinstance(spec, recipes.AdamW):
        kind = Muon if isinstance(spec, recipes.Muon) else keras.optimizers.AdamW
        optimizer = kind(weight_decay=spec.weight_decay, **options)
        spared = [variable for variable, factor in decay_factors(model, 0.0) if factor < 1]
        optimizer.exclude_from_weight_decay(spared)
        return optimizer
    for variable, factor in decay_factors(model, spec.norm_decay):
        if factor and spec.weight_decay:
            variable.regularizer = keras.regularizers.L2(0.5 * spec.weight_decay * factor)
    if isinstance(spec, recipes.SGD):
        return keras.optimizers.SGD(momentum=spec.momentum, **options)
    return keras.optimizers.Adam(**options)


def schedule_of(stage: Stage, steps: int):
    """The learning rate as a function of the step; an epoch is `steps` steps."""
    schedules = keras.optimizers.schedules
    spec, rate = stage.schedule, stage.learning_rate
    total, warmup = stage.epochs * steps, spec.warmup_epochs * steps
    if isinstance(spec, recipes.CosineDecay):  # the only one that Keras warms up itself
        return schedules.CosineDecay(
            rate / 100 if warmup else rate,
            max(1, total - warmup),
            alpha=spec.final / rate,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    if isinstance(spec, recipes.PolynomialDecay):
        schedule = schedules.PolynomialDecay(rate, total, 0.0, power=spec.power)
    elif isinstance(spec, recipes.StepDecay):
        every = spec.iterations or spec.epochs * steps
        schedule = schedules.ExponentialDecay(rate, every, spec.factor, staircase=True)
    else:
        boundaries = [round(total * fraction) for fraction in spec.at]
        schedule = schedules.PiecewiseConstantDecay(boundaries, [rate * 0.5**i for i in range(len(boundaries) + 1)])
    return WarmUp(schedule, warmup) if warmup else schedule


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """`schedule`, times a factor that rises from 0 to 1 over the first `steps` steps."""

    def __init__(self, schedule, steps: int):
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        return self.schedule(step) * keras.ops.minimum(1.0, (keras.ops.cast(step, "float32") + 1) / self.steps)

    def get_config(self):
        return {"schedule": self.schedule, "steps": self.steps}


def decay_factors(model: keras.Model, norm_decay: float = 0.01) -> list[tuple[keras.Variable, float]]:
    """Each trainable variable's share of the weight decay: 1, `norm_decay` if 1-D, 0 if depthwise."""
    return [
        (
            variable,
            0.0 if isinstance(layer, keras.layers.DepthwiseConv2D) else 1.0 if len(variable.shape) == 4 else norm_decay,
        )
        for layer in model._flatten_layers(include_self=False)
        for variable in layer._trainable_variables  # its own; those of layers within it come with them
    ]


def averaged_weights(model: keras.Model, optimizer: keras.Optimizer) -> list[np.ndarray]:
    """The weights of `model` with the optimizer's moving averages in the place of those that it averages, if it does.

    Batch normalisation's statistics, which are moving averages already, are the model's.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    values = {id(variable): variable for variable in model.weights}
    if optimizer.use_ema:
        averages = optimizer._model_variables_moving_average
        trained = optimizer._trainable_variables
        values |= {id(v): average for v, average in zip(trained, averages, strict=True) if average is not None}
    return [keras.ops.convert_to_numpy(values[id(variable)]) for variable in model.weights]
