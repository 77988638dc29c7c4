"""A recipe's stage as Keras fits it: losses, auxiliary outputs, optimizer, learning rate and weight decay."""

from __future__ import annotations

import keras
import numpy as np

from keras_models import losses
from keras_models.training.recipes import Stage

EDGE_KERNEL = 5  # pixels: PortraitNet's code draws its boundary four wide


def inverse_log_weights(counts: np.ndarray) -> tuple[float, ...]:
    """1 / ln(1.10 + frequency) of each class, of which there are `counts` pixels: ERFNet's class weights."""
    return tuple(float(weight) for weight in 1 / np.log(1.10 + counts / max(1, counts.sum())))


def compiled(model: keras.Model, stage: Stage, steps: int) -> keras.Model:
    """The model to fit, with the stage's optimizer and losses; an epoch is `steps` steps.

    It is `model` itself, or shares its weights and has one more output for each auxiliary loss.
    """
    options = {}
    if stage.loss == "lovasz_boundary":
        options = {"kernel_size": stage.boundary_kernel, "weight": stage.boundary_weight}
    elif stage.class_weights is not None:
        options = {"class_weights": stage.class_weights}
    terms = [(losses.get(stage.loss, **options), 1.0)]
    fitted = model
    if stage.auxiliary_layer:
        fitted = keras.Model(model.input, [model.output, model.get_layer(stage.auxiliary_layer).output])
        terms.append((_auxiliary_loss(stage), stage.auxiliary_weight))
    if stage.consistency_weight:
        pair = keras.Input((*model.input_shape[1:3], 6), name="pair")
        heads = keras.tree.flatten(fitted(pair[..., 3:]))
        both = keras.ops.concatenate([heads[0], model(pair[..., :3])], axis=-1)
        fitted = keras.Model(pair, [*heads, both])
        terms.append((_consistency_loss, stage.consistency_weight))
    if len(terms) == 1:
        loss, weights = terms[0][0], None
    else:
        loss, weights = ([term[i] for term in terms] for i in (0, 1))
    # XLA makes depthwise convolutions several times slower on a CPU.
    jit = keras.backend.backend() == "jax"
    fitted.compile(optimizer_of(model, stage, steps), loss, loss_weights=weights, jit_compile=jit)
    return fitted


def _auxiliary_loss(stage: Stage):
    function = losses.get(stage.auxiliary_loss)

    def auxiliary(labels, logits):
        if stage.auxiliary_target == "boundary":
            labels = losses.boundary_band(labels, EDGE_KERNEL)
        step = labels.shape[1] // logits.shape[1]
        return function(labels[:, ::step, ::step], logits)

    return auxiliary


def _consistency_loss(labels, both):
    channels = both.shape[-1] // 2
    return losses.consistency(both[..., :channels], both[..., channels:])


def optimizer_of(model: keras.Model, stage: Stage, steps: int) -> keras.Optimizer:
    """The stage's optimizer for the variables of `model`; its L2 weight decay is set on them."""
    rate, factors = _schedule(stage, steps), decay_factors(model, stage.norm_decay)
    if stage.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=stage.weight_decay)
        optimizer.exclude_from_weight_decay([variable for variable, factor in factors if factor < 1])
        return optimizer
    for variable, factor in factors:
        if factor and stage.weight_decay:
            variable.regularizer = keras.regularizers.L2(0.5 * stage.weight_decay * factor)
    return keras.optimizers.SGD(rate, stage.momentum) if stage.optimizer == "sgd" else keras.optimizers.Adam(rate)


def _schedule(stage: Stage, steps: int):
    """The learning rate as a function of the step."""
    schedules = keras.optimizers.schedules
    total, warmup = stage.epochs * steps, stage.warmup_epochs * steps
    if stage.schedule == "cosine":
        return schedules.CosineDecay(
            stage.learning_rate / 100 if warmup else stage.learning_rate,
            max(1, total - warmup),
            alpha=stage.final_learning_rate / stage.learning_rate,
            warmup_target=stage.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    if stage.schedule == "poly":
        poly = schedules.PolynomialDecay(stage.learning_rate, total, 0.0, power=stage.power)
        return WarmUp(poly, warmup) if warmup else poly
    if stage.schedule == "step":
        every = stage.step_iterations or stage.step_epochs * steps
        return schedules.ExponentialDecay(stage.learning_rate, every, stage.step_factor, staircase=True)
    boundaries = [round(total * fraction) for fraction in stage.halve_at]
    values = [stage.learning_rate * 0.5**i for i in range(len(boundaries) + 1)]
    return schedules.PiecewiseConstantDecay(boundaries, values)


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
        for layer in model.layers
        for variable in layer.trainable_variables
    ]
