"""A Graph to the bytes of a `.tflite`, through TensorFlow's converter: float, half, dynamic range or integers.

Only built-in operations are allowed, so that what a phone's interpreter lacks fails here and not on the phone.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator

import numpy as np

from keras_models.command import UserError
from tflite.graph import Graph, to_tensorflow
from tflite.quantize.compact import compact
from tflite.quantize.ranges import set_ranges

MODES = ("int8", "int16", "float32", "float16", "dynamic")
RESULT = "PartitionedCall"  # what the converter calls the last layer
MANY_WEIGHTS = 16_000_000
IO = ("uint8", "int8", "float32")


def to_tflite(
    graph: Graph, mode: str, images: np.ndarray | None = None, io: str = "uint8", whole: bool = False
) -> bytes:
    """The model file. `images`, RGB uint8 (n, height, width, 3), set the ranges of int8 and of int16, which has int8
    weights and int16 activations; the other modes need none.

    `io` is the type of input and output of an int8 model; the other modes have float32, RGB 0-1. The input's scale is
    1/255 exactly, so that a byte of an image is the byte of a uint8 input. `whole`: int8's ranges hold all values, as
    quantization-aware training has them, not those that lose least. Raises UserError when the converter refuses the
    graph.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    function = to_tensorflow(graph)
    module = tf.Module()
    module.network = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    # The way over a saved model names the file's signature; it takes forty times the weights' memory, twice the other.
    converter.experimental_lower_to_saved_model = sum(v.size for n in graph for v in n.weights.values()) < MANY_WEIGHTS
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if mode != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image] for image in calibration_inputs(images[:1]))
        converter._experimental_calibrate_only = True  # with the one photo: says which values have a range
    if mode == "int16":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        converter.representative_dataset = lambda: ([image] for image in calibration_inputs(images))
    try:
        with quiet():
            content = converter.convert()
            if mode == "int8":
                content = set_ranges(content, calibration_inputs(images), whole)
                content = mlir_quantize(content, input_data_type=getattr(tf, io), output_data_type=getattr(tf, io))
    except Exception as error:  # the converter raises whatever its C++ side throws
        raise UserError(_refusal(graph, function, str(error))) from error
    return compact(content)


def _refusal(graph: Graph, function, said: str) -> str:
    """What to say of the converter's error: the layer whose operation TFLite lacks, else the error's last lines."""
    lacking = set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", said))
    for operation in function.get_concrete_function().graph.get_operations():
        if operation.type in lacking:
            return (
                f"The layer {operation.name.split('/')[0]!r} of {graph.name!r} needs TensorFlow's {operation.type}, "
                "which TFLite has no operation of its own for. Replace the layer, or leave it to the program that uses "
                "the model"
            )
    return f"TensorFlow's converter refused {graph.name!r}: {said.strip()[-500:]}"


def calibration_inputs(images: np.ndarray) -> Iterator[np.ndarray]:
    """(1, height, width, 3) float32, RGB 0-1, of one image at a time.

    A black and a white pixel in a corner of each make the input's range, and so its scale, exact.
    """
    for image in images:
        image = image.astype("float32") / 255
        image[0, 0], image[0, 1] = 0, 1
        yield image[None]


@contextlib.contextmanager
def quiet():
    """Keeps what TensorFlow's C++ side writes to stderr, and shows it only when something went wrong."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
