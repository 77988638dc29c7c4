"""Which operations gain from int8 here? `python -m benchmarks.kernels` writes results/kernels-PROCESSOR.json.

Each is timed as a chain of eight of its kind at ExtremeC3Net's commonest shapes, 56x56 with 18 and 56 channels, in
float32 and int8 in turn on one thread, by LiteRT with XNNPACK.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import machine
from keras_models import command
from keras_models.command import option
from tflite import benchmark

LENGTH = 8
SMALL, WIDE = (56, 56, 18), (56, 56, 56)

KERNELS = {
    "depthwise 15x1": ("depthwise", (15, 1), 1, SMALL),
    "depthwise 1x15": ("depthwise", (1, 15), 1, SMALL),
    "depthwise 3x3, dilation 8": ("depthwise", (3, 3), 8, SMALL),
    "depthwise 3x3": ("depthwise", (3, 3), 1, SMALL),
    "depthwise 1x1": ("depthwise", (1, 1), 1, SMALL),
    "pointwise": ("dense", (1, 1), 1, SMALL),
    "dense 3x3": ("dense", (3, 3), 1, SMALL),
    # What the layout rests on: the same numbers by wide pixels, a product's outputs, and what stands beside them.
    "depthwise 1x15 as dense 1x3 of 7 pixels": ("dense", (1, 3), 1, (56, 8, 126)),
    "pointwise, 7 pixels at once": ("dense", (1, 1), 1, (56, 8, 126)),
    "pointwise, 64 channels": ("dense", (1, 1), 1, (56, 56, 64)),
    "pointwise, 128 channels": ("dense", (1, 1), 1, (56, 56, 128)),
    "depthwise 1x1, 56 channels": ("depthwise", (1, 1), 1, WIDE),
    "sum, 56 channels": ("sum", (), 1, WIDE),
    "leaky ReLU, 56 channels": ("leaky", (), 1, WIDE),
}


def chain(kind: str, size: tuple[int, ...], dilation: int, shape: tuple) -> tf.types.experimental.ConcreteFunction:
    """A function of (1, *shape) that applies eight such operations, with random weights where they have any."""
    generator, channels = np.random.default_rng(0), shape[2]
    weights = (*size, channels, 1 if kind == "depthwise" else channels)
    gain = (np.prod(size) * (1 if kind == "depthwise" else channels)) ** -0.5
    kernels = [tf.constant((generator.normal(size=weights) * gain).astype(np.float32)) for _ in range(LENGTH)]

    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32)])
    def apply(x):
        for kernel in kernels:
            if kind == "depthwise":
                x = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME", dilations=[dilation] * 2)
            elif kind == "dense":
                x = tf.nn.conv2d(x, kernel, 1, "SAME", dilations=dilation)
            else:
                x = tf.add(x, x) if kind == "sum" else tf.nn.leaky_relu(x, 0.1)
        return x

    return apply.get_concrete_function()


def convert(function, shape: tuple, int8: bool) -> bytes:
    """The function as a float32 or an all-int8 `.tflite`."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if int8:
        generator = np.random.default_rng(1)
        samples = generator.normal(size=(4, 1, *shape)).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@dataclass(frozen=True)
class KernelsOptions:
    """The command's flags."""

    runs: int = option(60, least=1, help="timed runs of each operation, in float32 and int8 in turn")


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    options = command.parse(
        KernelsOptions,
        argv,
        program="python -m benchmarks.kernels",
        description=__doc__,
        example="python -m benchmarks.kernels --runs 200",
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, size, dilation, shape) in KERNELS.items():
            files = [Path(folder) / f"{dtype}.tflite" for dtype in ("float32", "int8")]
            function = chain(kind, size, dilation, shape)
            for file, int8 in zip(files, (False, True), strict=True):
                file.write_bytes(convert(function, shape, int8))
            floating, int8 = benchmark.measure([str(file) for file in files], threads=1, runs=options.runs, warmup=5)
            times = {k: v["min_ms"] * 1000 / LENGTH for k, v in (("float32", floating), ("int8", int8))}
            rows.append({"operation": name, "shape": list(shape), **times, "speed": times["float32"] / times["int8"]})
            print(f"{name:40s} {times['float32']:7.1f} us  {times['int8']:7.1f} us  {rows[-1]['speed']:.2f}x")
    processor = "-".join(re.findall(r"[a-z0-9]+", machine.describe()["processor"].lower()))
    machine.write(f"kernels-{processor}", {"protocol": "One thread, the least of the runs", "rows": rows})
    return 0


if __name__ == "__main__":
    command.run(main)
