"""Layers that train faster on a CPU than Keras' own: the same function of the same weights, by other operations."""

from __future__ import annotations

import keras


def kinds() -> dict[type, type]:
    """The layers here that are faster where this process trains, by the Keras layers whose place they take."""
    if keras.backend.backend() != "tensorflow":
        return {}
    import tensorflow as tf

    return {} if tf.config.list_logical_devices("GPU") else {keras.layers.BatchNormalization: FusedBatchNormalization}


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of images in training by the one operation that TensorFlow has for it.

    Keras makes it of some ten, each of which reads and writes the whole batch: with their gradients they take six times
    as long, a third of the time of a small network's step.
    """

    def call(self, inputs, training=None, mask=None):
        plain = self.center and self.scale and not self.renorm and not self.synchronized and mask is None
        if not (training and self.trainable and plain and len(inputs.shape) == 4 and self.axis in (3, -1)):
            return super().call(inputs, training, mask)
        import tensorflow as tf

        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count  # Keras averages the batch's own variance, this is the unbiased one
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return y
