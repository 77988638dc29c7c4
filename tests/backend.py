"""Compiled functions on whichever backend Keras has, and a second run of test files on JAX."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ON_JAX = keras.backend.backend() == "jax"  # the backend is chosen once per process


def compiled(function):
    """`function` of tensors as a training step runs it: traced once, with shapes fixed."""
    if ON_JAX:
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function)


def gradient(function):
    """The compiled gradient of a scalar function of one tensor."""
    if ON_JAX:
        import jax

        return jax.jit(jax.grad(function))
    import tensorflow as tf

    @tf.function
    def result(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    return lambda x: result(tf.convert_to_tensor(x))


def passes_under_jax(*test_files: str) -> None:
    """Run test files again with Keras on JAX."""
    pytest.importorskip("jax", reason="needs jax: pip install jax")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *test_files],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0 and " passed" in run.stdout, run.stdout + run.stderr
