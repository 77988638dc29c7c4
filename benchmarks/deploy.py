"""Every network through the compiler: `python -m benchmarks.deploy`, or with some networks' names.

A segmenter of less than 5 M parameters is trained for a moment on drawings, becomes int8 and is compared with its float
self; a larger one, and a classifier, becomes float32. Each in a process of its own, at a small input. Writes
results/deploy.json, in which the networks that are not named keep their rows.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from benchmarks import machine
from keras_models import build, command, names, registry
from keras_models.command import UserError, option
from tests import small
from tflite import graph, inspect
from tflite.graph import check, rewrite
from tflite.quantize import converter, repair

INT8_BELOW = 5_000_000  # parameters
CALIBRATION = 32  # drawings; with eight, channel equalisation hangs on what few of them happen to show


@dataclass(frozen=True)
class DeployOptions:
    """The command's flags."""

    networks: tuple[str, ...] = option((), positional=True, metavar="NAME", help="which ones (default: all)")


def main(argv: list[str] | None = None) -> None:
    """Measure the networks that are named, all when none is, and write the table after each."""
    options = command.parse(
        DeployOptions,
        argv,
        program="python -m benchmarks.deploy",
        description=__doc__,
        example="python -m benchmarks.deploy extremec3 pocketnet_m",
    )
    if unknown := set(options.networks) - set(names()):
        raise UserError(f"Unknown networks. Valid names: {', '.join(names())}. Received: {', '.join(unknown)}")
    result = machine.kept("deploy", ("tensorflow", "ai-edge-litert"))
    rows = {row["network"]: row for row in result.get("networks", ())}
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for row in pool.map(measure, options.networks or names()):
            print(json.dumps(row), flush=True)
            rows[row["network"]] = row
            machine.write("deploy", result | {"networks": [rows[name] for name in names() if name in rows]})


def becomes_int8(name: str) -> bool:
    """Whether the network is trained on drawings and quantized; the others are converted to float32."""
    row = registry.network(name)
    return row.task == "segmentation" and row.parameters < INT8_BELOW


def measure(name: str) -> dict:
    """The row of one network; `reason` says why it could not be converted, if it could not."""
    keras.utils.set_random_seed(0)
    model = build(name, input_size=small.size_of(name))
    row = {"network": name, "height": model.input_shape[1], "width": model.input_shape[2]}
    if becomes_int8(name):
        form = row["form"] = "int8"
        images, labels = small.drawn(4, model)
        row["untrained_foreground_iou"] = small.foreground_iou(model, images, labels)
        small.train_for_a_moment(model, images, labels)
        row["trained_foreground_iou"] = small.foreground_iou(model, images, labels)
        images = small.photos(CALIBRATION, model.input_shape[1:3])
    else:
        form = row["form"] = "float32"
        images = small.photos(2, model.input_shape[1:3])
    try:
        others = small.photos(8, model.input_shape[1:3], seed=5000)
        return row | convert(model, images, form, others) | {"reason": ""}
    except ValueError as error:
        return row | {"reason": str(error)}


def convert(model: keras.Model, calibration: np.ndarray, form: str, images: np.ndarray | None = None) -> dict:
    """What becomes of `model` on its way to a `.tflite`, calibrated with some images and compared on others, RGB uint8.

    rewrite_difference: of the rewritten graph's logits in float from the model's, as `tflite.graph.check` measures it.
    correlation, agreement: of the file's logits and labels with the model's. The rest is `tflite.inspect`'s.
    Raises ValueError when the network cannot be converted.
    """
    images = calibration if images is None else images
    logits = keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))
    rewritten = rewrite.rewrite(graph.read(model), calibration if form == "int8" else None)
    if form == "int8":
        content, rewritten = repair.to_int8(rewritten, calibration)
    else:
        content = converter.to_tflite(rewritten, form)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        file.write_bytes(content)
        found = inspect.inspect(file)
        results = check.run_file(file, images / np.float32(255))
    # Many, as photos are small here: a value that unpooling puts one pixel away changes some 700 around it.
    others = check.test_images(images.shape[1:3], 16)
    expected = keras.ops.convert_to_numpy(model(others.astype("float32"), training=False))
    floating = graph.run(rewritten, others / np.float32(255))
    kept = ("bytes", "total", "float_ops", "space_to_batch", "delegated", "partitions", "ops")
    return {
        "rewrite_difference": check.difference(expected, floating, check.agreeing_share(rewritten)),
        "correlation": float(np.corrcoef(results.ravel(), logits.ravel())[0, 1]),
        "agreement": float(np.mean(_labels(results) == _labels(logits))),
        **{key: found[key] for key in kept},
    }


def _labels(logits: np.ndarray) -> np.ndarray:
    return logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)


if __name__ == "__main__":
    command.run(main)
