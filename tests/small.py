"""Small networks for tests: some that look trained, with slopes of all kinds, and some trained for a moment."""

import dataclasses
from functools import cache

import cv2
import keras
import numpy as np

import keras_models
from keras_models import metrics, registry
from keras_models.data import drawings, prepare_image
from keras_models.training.stages import loss_of

SIZE = (64, 64)


@cache
def extremec3() -> keras.Model:
    """The network at 64x64. It is shared: do not change it."""
    return looks_trained(keras_models.build("extremec3", input_size=SIZE), slopes=(-0.2, 0.6))


def looks_trained(model: keras.Model, seed: int = 0, slopes: tuple[float, float] = (-0.3, 1.2)) -> keras.Model:
    """`model` with varied batch norms and PReLU slopes, and the moving statistics that its own activations have."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.2
            layer.gamma.assign(generator.uniform(0.5, 1.5, layer.gamma.shape) * generator.choice([1, 1, 1, -1]))
            layer.beta.assign(generator.normal(0, 0.3, layer.beta.shape))
        elif isinstance(layer, keras.layers.PReLU):
            layer.alpha.assign(generator.uniform(*slopes, layer.alpha.shape))
    height, width = model.input_shape[1:3]
    for _ in range(3):
        model(photos(4, (height, width), int(generator.integers(1 << 30))), training=True)
    return model


def size_of(name: str, side: int = 64) -> tuple[int, int]:
    """Height and width near `side` and half as much again that the network's strides divide."""
    multiple = registry.network(name).multiple
    height = multiple * max(1, side // multiple)
    return height, height + multiple * max(1, height // (2 * multiple))


def drawn(count: int, model: keras.Model, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Drawings at the model's input size, RGB uint8, and their labels at its output size, int32."""
    height, width = model.output_shape[1:3]
    masks = [drawings.draw(seed + i)[1] for i in range(count)]
    labels = [cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) for mask in masks]
    return photos(count, model.input_shape[1:3], seed), np.stack(labels).astype("int32")


def train_for_a_moment(model: keras.Model, images: np.ndarray, labels: np.ndarray, until: float = 0.8) -> None:
    """At most 24 steps with the loss of its default recipe, until the foreground IoU of the images is `until`.

    The batch norms have the images' own statistics and nothing drops out, so that inference is what is trained.
    Eagerly, since tracing a network takes longer than so few steps.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    loss = next(iter(registry.network(model.name).recipes.values())).stages[-1].loss  # the default recipe's
    if getattr(loss, "class_weights", None):
        loss = dataclasses.replace(loss, class_weights=None)  # a drawing has few of the classes
    model.compile(keras.optimizers.Adam(2e-2), loss_of(loss), run_eagerly=True)
    values = images.astype("float32")
    for _ in range(8):
        for _ in range(3):
            model.train_on_batch(values, labels)
        model(values, training=True)  # for the statistics after the last step
        if foreground_iou(model, images, labels) >= until:
            break


def foreground_iou(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Of the model's labels, averaged over the images."""
    found = metrics.predicted_labels(model(images.astype("float32"), training=False))
    return float(metrics.foreground_iou(labels, found))


def photos(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """RGB uint8 (count, height, width, 3): the built-in drawings."""
    return np.stack([prepare_image(drawings.draw(seed % 100_000 + i)[0], size) for i in range(count)])
