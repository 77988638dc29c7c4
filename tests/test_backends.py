"""Losses and metrics are the same functions on JAX."""

import pytest

from tests.backend import ON_JAX, passes_under_jax


@pytest.mark.skipif(ON_JAX, reason="this is the run on JAX")
def test_losses_and_metrics_pass_under_jax():
    passes_under_jax("tests/test_losses.py", "tests/test_metrics.py")
