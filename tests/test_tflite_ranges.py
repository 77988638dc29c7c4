"""Ranges of int8 values: those that lose least."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests import small
from tests.small import SIZE, photos
from tflite.graph import read, rewrite
from tflite.quantize import converter
from tflite.quantize.ranges import _Values

RANDOM = np.random.default_rng(0)


def collected(*parts):
    values = _Values()
    for part in parts:
        values.add(np.asarray(part, "float32"))
    return values


def rounding_error(x, low, high):
    """The mean squared error of `x` in 256 steps from low to high, one of which is 0, by the definition."""
    step = (high - low) / 255
    zero = np.round(-low / step)
    rounded = np.clip(np.round(x / step) + zero, 0, 255) - zero
    return float(np.mean((rounded * step - x) ** 2))


@pytest.mark.parametrize(
    "x",
    [
        RANDOM.normal(0, 1, 20_000),
        RANDOM.standard_t(3, 20_000),
        np.maximum(RANDOM.standard_t(3, 20_000), 0),
        RANDOM.uniform(-1, 3, 20_000),
        -(RANDOM.exponential(1, 20_000) ** 2),
        RANDOM.normal(0, 1e-5, 20_000),
        RANDOM.normal(0, 1e6, 20_000),
    ],
    ids=["normal", "long tails", "of a ReLU", "even", "negative", "tiny", "huge"],
)
def test_no_range_of_the_grid_loses_less(x):
    values = collected(*np.split(x, 4))
    low, high = values.narrowed()
    assert values.whole[0] <= low <= 0 <= high <= values.whole[1]
    found = rounding_error(x, low, high)
    shares = np.linspace(1, 0.05, 20)
    every = [
        rounding_error(x, a * values.whole[0], b * values.whole[1])
        for a in shares
        for b in shares
        if a * values.whole[0] < b * values.whole[1]
    ]
    assert found < 1.05 * min(every)


def test_one_outlier_in_a_million_does_not_cost_the_others_their_steps():
    values = collected(RANDOM.normal(0, 1, 1_000_000), [200.0])
    assert values.whole[1] == 200 and 3 < values.narrowed()[1] < 100


@pytest.mark.parametrize("x", [np.zeros(100), [5.0], [-5.0]], ids=["zeros", "one value", "one below zero"])
def test_few_values(x):
    low, high = collected(x).narrowed()
    assert low <= min(0, *x) and high >= max(0, *x)


def test_a_file_has_no_wider_ranges_than_its_values_and_the_whole_one_of_its_input():
    """One overexposed photo among the calibration's stretches whole ranges to what it alone reaches."""
    photographed = np.concatenate([photos(24, SIZE) // 4, np.full((1, *SIZE, 3), 255, np.uint8)])
    graph = rewrite.rewrite(read(small.extremec3()), photographed)
    scales = {}
    for whole in (True, False):
        interpreter = Interpreter(model_content=converter.to_tflite(graph, "int8", photographed, whole=whole))
        assert interpreter.get_input_details()[0]["quantization"] == (pytest.approx(1 / 255), 0)
        written = {int(index) for operation in interpreter._get_ops_details() for index in operation["outputs"]}
        details = [tensor for tensor in interpreter.get_tensor_details() if tensor["index"] in written]
        scales[whole] = np.array([tensor["quantization"][0] for tensor in details])
    assert (scales[False] <= 1.01 * scales[True]).all()
    assert np.median(scales[False] / scales[True]) < 0.95
