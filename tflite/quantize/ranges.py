"""The range of each value of an int8 file: the one that loses least, not the one that holds all.

Of a long-tailed value the widest range spends its 256 steps on what one pixel in a million reaches. A narrower one
clips that pixel and halves the rounding of all others; which is best follows from how often each value occurs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tflite.quantize import compact

_CODES = 1 << 16  # a value's bin is the upper half of its float32: sign, exponent and 7 bits, 1 % wide at any magnitude
_SHARES = np.linspace(1, 0, 65)  # of the whole range, tried at both of its ends


def set_ranges(content: bytes, inputs: Iterable[np.ndarray], whole: bool = False) -> bytes:
    """The calibrated float model `content` with ranges by `inputs` in the place of its own.

    `inputs`: float32 (1, height, width, 3), RGB 0-1. `whole`: from the least value to the greatest. The model's input
    keeps its whole range in any case.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    found = {
        index: _Values()
        for index, tensor in enumerate(graph.tensors)
        if tensor.quantization is not None and tensor.quantization.min is not None
    }
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=os.cpu_count(),
    )
    interpreter.allocate_tensors()
    for image in inputs:
        interpreter.set_tensor(graph.inputs[0], image)
        interpreter.invoke()
        for index, values in found.items():
            values.add(interpreter.get_tensor(index))
    for index, values in found.items():
        low, high = values.whole if whole or index in graph.inputs else values.narrowed()
        quantization = graph.tensors[index].quantization
        quantization.min, quantization.max = np.array([low], "float32"), np.array([high], "float32")
    return compact.write(model)


class _Values:
    """How often each value of a tensor occurs. `whole`: the (least, greatest), zero among them."""

    def __init__(self):
        self.whole, self._counts = (0.0, 0.0), np.zeros(_CODES, np.int64)

    def add(self, x: np.ndarray) -> None:
        x = np.ascontiguousarray(x, np.float32).ravel()
        low, high = self.whole
        self.whole = min(low, float(x.min())), max(high, float(x.max()))
        self._counts += np.bincount(x.view(np.uint32) >> 16, minlength=_CODES)

    def narrowed(self) -> tuple[float, float]:
        """The range, from 0 or below to 0 or above, with the least squared error of clipping and rounding to 256
        steps. A zero is exact in each of them.
        """
        with np.errstate(invalid="ignore"):  # some of the bins are no numbers
            middles = ((np.arange(_CODES, dtype=np.uint32) << 16) | 0x8000).view(np.float32).astype("float64")
        there = np.flatnonzero((self._counts > 0) & np.isfinite(middles) & (np.abs(middles) > 1e-30))
        there = there[np.argsort(middles[there])]
        x, counts = middles[there], self._counts[there]
        sums = np.stack([np.append(0.0, np.cumsum(counts * x**power)) for power in range(3)])
        lows, highs = (np.unique(end * _SHARES) for end in self.whole)
        below = sums[:, np.searchsorted(x, lows)]
        above = sums[:, -1:] - sums[:, np.searchsorted(x, highs, "right")]
        rounded = counts.sum() - below[0][:, None] - above[0]
        error = rounded * ((highs - lows[:, None]) / 255) ** 2 / 12
        error += _distances(lows, below)[:, None] + _distances(highs, above)
        low, high = np.unravel_index(error.argmin(), error.shape)
        return float(lows[low]), float(highs[high])


def _distances(ends: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Of each of the `ends` the squared distances to it, of values whose number, sum and sum of squares `sums` are."""
    count, first, second = sums
    return second - 2 * ends * first + ends**2 * count
