"""The spec that is written beside a `.tflite`; runtime.py says what is in it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from keras_models.smoothing import SHARE
from tflite import metadata


def make(name: str, source: Path, model, interpreter, calibration: dict | None) -> dict:
    """The spec of the file `name`, made from the Keras `model` at `source`, without the sha256 of the finished file.

    UserError when the input is not what the spec promises of it.
    """
    from keras_models import registry
    from keras_models.models import classes_of

    classes = model.output_shape[-1]
    labels, colors = classes_of(source, classes)
    described = {
        kind: {
            "height": int(details["shape"][1]),
            "width": int(details["shape"][2]),
            channels: int(details["shape"][3]),
            "dtype": np.dtype(details["dtype"]).name,
            "scale": float(details["quantization"][0]) or 1.0,
            "zero_point": int(details["quantization"][1]),
        }
        for kind, channels, details in (
            ("input", "channels", interpreter.get_input_details()[0]),
            ("output", "classes", interpreter.get_output_details()[0]),
        )
    }
    _check_input(described["input"])
    paper = registry.network(model.name).paper if model.name in registry.names() else None
    return {
        "format": 1,
        "name": name,
        "network": model.name,
        "paper": paper,
        **metadata.origin(source.parent, model.name, paper, labels),
        "input": described["input"] | {"color_order": "RGB"},
        "output": described["output"] | {"kind": "logits", "activation": "sigmoid" if classes == 1 else "softmax"},
        "labels": list(labels),
        "colors": colors,
        "threshold": 0.5,
        "smoothing": SHARE,
        "accuracy": None,
        "calibration": calibration,
        "versions": {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")}
        | {"pocketseg": _own_version()},
        "weights_sha256": weights_digest(model),
    }


def weights_digest(model) -> str:
    """The sha256 of all weights of a Keras model."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _check_input(described: dict) -> None:
    zero_point = {"uint8": 0, "int8": -128}.get(described["dtype"])
    if zero_point is not None and (abs(described["scale"] * 255 - 1) > 1e-6 or described["zero_point"] != zero_point):
        raise UserError(
            f"The converter gave the input the scale {described['scale']} and zero point {described['zero_point']} "
            f"instead of 1/255 and {zero_point}: an operation beside it forces its own scale on it. Nothing is written."
        )


def _own_version() -> str | None:
    try:
        return importlib.metadata.version("pocketseg")
    except importlib.metadata.PackageNotFoundError:
        return None
