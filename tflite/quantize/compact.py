"""A `.tflite` with equal vectors stored once.

Per-channel quantization gives every weight and every bias a scale and a zero point of eight bytes per channel, all of
them 0: of a network of 40,000 parameters a third of the file. Offsets in a flatbuffer may meet, so one vector of zeros
of each length does.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

ALIGNMENT = 16  # of weights, as the schema asks


class _Sharing(flatbuffers.Builder):
    """Writes each vector of numbers once."""

    def __init__(self, size: int):
        super().__init__(size)
        self._written = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # flatbuffers' name
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            if x.dtype == np.uint8:  # a buffer's bytes
                self.Prep(ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def compact(content: bytes) -> bytes:
    """The same model, operations, tensors and names; ready for `metadata.add`, whose archive it would lose."""
    return write(schema.ModelT.InitFromPackedBuf(content, 0))


def write(model: schema.ModelT) -> bytes:
    """The file of a model, with equal vectors stored once."""
    builder = _Sharing(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
