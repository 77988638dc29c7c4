"""Networks that nobody here wrote through the compiler: `python -m benchmarks.backbones`, or with some names.

The backbones of keras.applications with random weights, each as a classifier and as an encoder under a small decoder.
Their statistics are those of their own activations, so that every layer sees sane values. Each form is compared with
Keras in float, rewritten and as a file, and its int8 file with both. Each in a process of its own. Writes
results/backbones.json, in which what is not named keeps its rows; `python -m benchmarks.report` makes the table.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine, markdown
from keras_models import command
from keras_models.command import UserError, option

BACKBONES = (
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0",
    "ResNet50V2", "Xception", "DenseNet121", "NASNetMobile", "ConvNeXtTiny",
)  # fmt: skip
SCALED = ("MobileNet", "MobileNetV2", "ResNet50V2", "Xception", "DenseNet121", "NASNetMobile")  # they take -1 to 1
ROLES = ("classifier", "encoder")
SIZE = (96, 96)
CALIBRATION, IMAGES = 12, 6  # drawings that set the ranges, and others that are measured on
ENOUGH = 0.99  # correlation of int8 with float


@dataclass(frozen=True)
class BackbonesOptions:
    """The command's flags."""

    backbones: tuple[str, ...] = option((), positional=True, metavar="NAME", help="which ones (default: all)")


def main(argv: list[str] | None = None) -> int:
    """Measure the backbones that are named, all when none is; write the results after each."""
    options = command.parse(
        BackbonesOptions,
        argv,
        program="python -m benchmarks.backbones",
        description=__doc__,
        example="python -m benchmarks.backbones MobileNetV2 EfficientNetB0",
    )
    if unknown := set(options.backbones) - set(BACKBONES):
        raise UserError(f"Unknown backbones. Valid names: {', '.join(BACKBONES)}. Received: {', '.join(unknown)}")
    result = machine.kept("backbones", ("tensorflow", "ai-edge-litert"))
    rows = {(row["backbone"], row["role"]): row for row in result.get("rows", ())}
    jobs = [(name, role) for name in options.backbones or BACKBONES for role in ROLES]
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for job, row in zip(jobs, pool.map(measure, *zip(*jobs, strict=True)), strict=True):
            rows[job] = row
            print(json.dumps(row), flush=True)
            order = [(name, role) for name in BACKBONES for role in ROLES if (name, role) in rows]
            result |= {"protocol": protocol(), "rows": [rows[key] for key in order]}
            machine.write("backbones", result)
    print(table(result))
    return 0


def protocol() -> str:
    """What was done, in a sentence."""
    return (
        f"{SIZE[0]}x{SIZE[1]}, random weights, batch norms with the network's own statistics and offsets above 0; "
        f"ranges of {CALIBRATION} drawings, correlation on {IMAGES} others"
    )


def build(name: str, role: str, size: tuple[int, int] = SIZE):
    """The Keras model: RGB 0-255 to 100 logits, or as a nested encoder to one logit per pixel; see `settle`."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    image = keras.Input((*size, 3))
    x = layers.Rescaling(1 / 127.5, -1, name="scaled")(image) if name in SCALED else image
    if role == "classifier":
        backbone = make(weights=None, input_shape=(*size, 3), classes=100, classifier_activation=None)
        return settle(keras.Model(image, backbone(x), name=f"{name}_classifier"))
    x = make(weights=None, input_shape=(*size, 3), include_top=False)(x)
    while x.shape[1] < size[0]:
        level = x.shape[1]
        width = 48 if level < size[0] // 8 else 16
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"decoder_{level}")(x)
        x = layers.ReLU(name=f"decoder_{level}_relu")(layers.BatchNormalization(name=f"decoder_{level}_bn")(x))
        factor = 2 if size[0] % (2 * level) == 0 else size[0] // level
        x = layers.UpSampling2D(factor, interpolation="bilinear", name=f"decoder_{level}_up")(x)
    return settle(keras.Model(image, layers.Conv2D(1, 1, name="logits")(x), name=f"{name}_encoder"))


def settle(model):
    """`model` with varied batch norms that have the statistics of its own activations on drawings.

    Their offsets let ReLUs pass most of what comes: a batch-normalised network of random weights that bends everything
    in half magnifies the smallest difference layer by layer, rounding too, as no trained one does.
    """
    import keras

    from tests import small

    generator = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.scale:
                layer.gamma.assign(generator.uniform(0.4, 0.8, layer.gamma.shape))
            layer.beta.assign(generator.uniform(0.8, 1.6, layer.beta.shape))
        elif hasattr(layer, "gamma") and type(layer).__name__ == "LayerScale":  # 1e-6 at the start: blocks do nothing
            layer.gamma.assign(generator.uniform(0.2, 0.6, layer.gamma.shape))
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model(small.photos(12, model.input_shape[1:3], seed=77).astype("float32"), training=True)
    return model


def measure(name: str, role: str, size: tuple[int, int] = SIZE, drawings: int = CALIBRATION) -> dict:
    """The row of a backbone in a role; `reason` says what stands in the way, if something does.

    `drawings` set the ranges. A deep network of a small input needs more of them: at 32x32 its last maps are of one
    pixel, so that twelve drawings show twelve values of a channel, and others go far beyond, where int8 ends. Of
    MobileNetV2's encoder there the correlation is 0.940 with 12 and 0.994 with 96.

    rewrite_difference: the largest of those between Keras, the rewritten graphs and the float file, as a share
    of the largest logit. correlation: of the int8 file's logits with Keras'. plain_correlation: of the file that
    TensorFlow's converter makes without this project's rewrites, where `correlation` is below 0.99.
    """
    from tests import small
    from tflite import graph, inspect
    from tflite.graph import check, rewrite
    from tflite.quantize import converter, repair

    started = time.monotonic()
    row = {"backbone": name, "role": role, "reason": ""}
    model = build(name, role, size)
    row["parameters"] = model.count_params()
    calibration, images = small.photos(drawings, size), small.photos(IMAGES, size, seed=500)
    seen = check.test_images(size)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        try:
            network = graph.read(model)
            worst = [check.with_keras(model, seen)]
            floating = rewrite.rewrite(network)
            worst.append(check.rewritten(network, floating, seen, rewrite.steps()))
            file.write_bytes(converter.to_tflite(floating, "float32"))
            worst.append(check.float_file(file, floating, seen))
            whole = rewrite.rewrite(network, calibration)
            worst.append(check.rewritten(network, whole, seen, rewrite.steps(calibration)))
            row["rewrite_difference"] = max(worst)
            content, _ = repair.to_int8(whole, calibration)
            file.write_bytes(content)
            logits = model.predict(images, verbose=0)
            row["correlation"] = correlation(file, images, logits)
            found = inspect.inspect(file)
            row |= {key: found[key] for key in ("bytes", "total", "float_ops", "delegated", "partitions")}
            if row["correlation"] < ENOUGH:
                file.write_bytes(converter.to_tflite(network, "int8", calibration))
                row["plain_correlation"] = correlation(file, images, logits)
        except ValueError as error:
            row["reason"] = str(error)
    return row | {"seconds": round(time.monotonic() - started)}


def correlation(file: Path, images: np.ndarray, logits: np.ndarray) -> float:
    """Of what a `.tflite` makes of `images`, RGB uint8, with `logits`."""
    from tflite.graph import check

    return float(np.corrcoef(check.run_file(file, images / np.float32(255)).ravel(), logits.ravel())[0, 1])


def table(result: dict) -> str:
    """The rows as Markdown."""
    header = ["backbone", "role", "conversion changes", "int8 correlation", "operations", "in float", "partitions"]
    rows = []
    for row in result["rows"]:
        start = [row["backbone"], row["role"]]
        if row["reason"]:
            rows.append([*start, f"refused: {row['reason']}"])
            continue
        plain = f" (plain: {row['plain_correlation']:.4f})" if "plain_correlation" in row else ""
        found = [f"{row['rewrite_difference']:.0e}", f"{row['correlation']:.4f}{plain}"]
        rows.append([*start, *found, row["total"], row["float_ops"], row["partitions"]])
    return f"{markdown.table(header, rows, words=2)}\n\n{result['protocol']}."


if __name__ == "__main__":
    command.run(main)
