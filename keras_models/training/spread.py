"""Training on several devices or in several processes, by Keras' own distribution (JAX) or TensorFlow's.

JAX: all devices of all processes take a share of every batch, and batch normalisation sees the whole of it, so that the
losses are those of one device. Processes find each other as Keras says: KERAS_DISTRIBUTION_JOB_ADDRESSES,
KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID in the environment. TensorFlow: the GPUs of one
machine; batch normalisation sees a device's share. The weights that are validated and saved belong to no device.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from keras_models.command import UserError


@dataclass(frozen=True)
class Spread:
    """How a training is spread: this process is number `rank` of `processes`, and takes its share of each batch.

    building, fitting: contexts in which the model that is trained is made, and in which it is fitted. alone: a context
    within the fit in which each process works for itself.
    """

    rank: int = 0
    processes: int = 1
    devices: int = 1
    building: Callable = contextlib.nullcontext
    fitting: Callable = contextlib.nullcontext
    alone: Callable = contextlib.nullcontext


ALONE = Spread()


def begin() -> Spread:
    """Over all devices that this process and those of the environment have; before anything is computed.

    UserError for a backend that has no distribution.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy(tf.config.list_logical_devices("GPU") or None)
        return Spread(devices=strategy.num_replicas_in_sync, building=strategy.scope)
    if backend != "jax":
        raise UserError(f"--distribute needs KERAS_BACKEND=jax or tensorflow. Received: {backend}")
    import jax

    if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):
        keras.distribution.initialize()
    spread = keras.distribution.DataParallel(auto_shard_dataset=False)

    @contextlib.contextmanager
    def alone():
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(spread)

    return Spread(jax.process_index(), jax.process_count(), jax.device_count(), spread.scope, spread.scope, alone)
