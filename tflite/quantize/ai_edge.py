"""The second engine of int8: Google's ai-edge-quantizer.

It quantizes the same graph as TensorFlow's converter and chooses its ranges and scales by itself, so that a loss that
both show is the network's, not the converter's. It can leave single layers float, which the converter cannot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import numpy as np

from keras_models.command import UserError
from tflite.quantize.compact import compact

INSTALL = "pip install ai-edge-quantizer"


def require() -> None:
    """UserError that says how to install the engine when it is not there."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ImportError as error:
        raise UserError(f"--engine ai-edge-quantizer is not installed. Run: {INSTALL}") from error


def quantize(floating: bytes, inputs: Iterable[np.ndarray], io: str, keep_float: tuple[str, ...] = ()) -> bytes:
    """A float32 `.tflite` as int8, with input and output of the type `io`.

    `inputs` are calibration images, (1, height, width, 3) float32, RGB 0-1; `keep_float` names layers that stay as they
    are (the file calls the last one `quantize.RESULT`). Raises UserError when the engine refuses the model.
    """
    try:
        return compact(_with_io(_quantize(floating, inputs, keep_float), io))
    except Exception as error:  # the engine raises errors of many kinds
        raise UserError(f"ai-edge-quantizer refused the model: {str(error).strip()[-500:]}") from error


def _quantize(floating: bytes, inputs: Iterable[np.ndarray], keep_float: tuple[str, ...]) -> bytes:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

    engine = quantizer.Quantizer(bytearray(floating))
    engine.load_quantization_recipe(recipe.static_wi8_ai8())
    nothing, operation = algorithm_manager.AlgorithmName.NO_QUANTIZE, qtyping.TFLOperationName
    for end in (operation.INPUT, operation.OUTPUT):
        engine.update_quantization_recipe(".*", end, None, nothing)
    interpreter = Interpreter(model_content=floating)
    tensors = [details["name"] for details in interpreter.get_tensor_details()]
    for name in keep_float:
        pattern = f"(^|;){re.escape(name)}[/:]"  # an operation has the names of all the layers that were merged into it
        if not any(re.search(pattern, tensor) for tensor in tensors):
            raise UserError(f"no operation of the file bears the name {name!r}")
        engine.update_quantization_recipe(pattern, operation.ALL_SUPPORTED, None, nothing)
    ((signature, arguments),) = interpreter.get_signature_list().items()
    samples = [{arguments["inputs"][0]: image} for image in inputs]
    ranges = engine.calibrate({signature: samples}, num_threads=os.cpu_count() or 1)
    return bytes(engine.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _with_io(model: bytes, io: str) -> bytes:
    """The model with integer input and, where its output was float, integer output, as the converter's own have."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow.lite.python import util

    output = Interpreter(model_content=model).get_output_details()[0]["dtype"]
    output_type = getattr(tf, io) if output == np.float32 else tf.float32  # float32: leave it as it is
    return util.modify_model_io_type(model, getattr(tf, io), output_type)
