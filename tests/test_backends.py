"""Losses and metrics are the same functions on JAX, and training goes on as exactly."""

import pytest

from tests.backend import ON_JAX, passes_under_jax


@pytest.mark.skipif(ON_JAX, reason="this is the run on JAX")
def test_losses_and_metrics_pass_under_jax():
    passes_under_jax("tests/test_losses.py", "tests/test_metrics.py")


@pytest.mark.skipif(ON_JAX, reason="this is the run on JAX")
def test_a_resumed_run_is_equal_to_an_unbroken_one_under_jax():
    passes_under_jax("tests/test_train.py", "-n", "0", "-k", "dropout")
