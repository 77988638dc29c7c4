"""Networks that look trained without training: statistics of real activations, slopes and scales of all kinds."""

from functools import cache

import keras
import numpy as np

SIZE = (64, 64)


@cache
def extremec3() -> keras.Model:
    """The network at 64x64. It is shared: do not change it."""
    import keras_models

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


def photos(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """RGB uint8 (count, height, width, 3): the built-in drawings."""
    from keras_models.data import drawings, prepare_image

    return np.stack([prepare_image(drawings.draw(seed % 100_000 + i)[0], size) for i in range(count)])
