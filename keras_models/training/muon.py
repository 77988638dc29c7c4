"""Muon (Jordan et al. 2024), for convolutions: momentum whose directions all get the same strength."""

from __future__ import annotations

import keras
from keras import ops

MOMENTUM = 0.95
RMS = 0.2  # of an update at learning rate 1, as AdamW's (Liu et al. 2025, section 2.2): one rate serves both
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the quintic that brings singular values near 1 in a few steps


class Muon(keras.optimizers.AdamW):
    """AdamW, and in its place Muon for the kernels of dense convolutions but the stem's.

    A kernel (height, width, inputs, outputs) is taken as a matrix of height * width * inputs rows and `outputs`
    columns. Depthwise kernels, those of one output or of three inputs, biases and normalisation are AdamW's.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Keras' hook: moves one variable by its gradient."""
        if not _is_matrix(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[self._get_variable_index(variable)]
        self.assign(momentum, MOMENTUM * momentum + gradient)
        ahead = gradient + MOMENTUM * momentum  # Nesterov's
        matrix = orthogonal(ops.reshape(ahead, (-1, variable.shape[-1])))
        strength = RMS * max(matrix.shape) ** 0.5
        step = ops.cast(learning_rate, variable.dtype) * strength * ops.reshape(matrix, variable.shape)
        self.assign_sub(variable, step)


def _is_matrix(variable) -> bool:
    return len(variable.shape) == 4 and variable.shape[-1] > 1 and variable.shape[-2] > 3


def orthogonal(matrix, steps: int = 5):
    """The matrix nearest in direction whose singular values are all about 1 (0.7 to 1.2), by Newton-Schulz steps."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = ops.transpose(matrix) if tall else matrix
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(steps):
        gram = x @ ops.transpose(x)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return ops.transpose(x) if tall else x
