"""Which operations gain from int8 on this machine? `python -m benchmarks.kernels` writes results/kernels.json.

Each is timed as a chain of eight of its kind at ExtremeC3Net's commonest shape, 56x56 with 18 channels, in float32 and
int8 in turn on one thread, by LiteRT with XNNPACK.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import machine
from tflite import benchmark

SIDE, CHANNELS, LENGTH, RUNS = 56, 18, 8, 60

KERNELS = {
    "depthwise 15x1": ("depthwise", (15, 1), 1),
    "depthwise 1x15": ("depthwise", (1, 15), 1),
    "depthwise 3x3, dilation 8": ("depthwise", (3, 3), 8),
    "depthwise 3x3": ("depthwise", (3, 3), 1),
    "depthwise 1x1": ("depthwise", (1, 1), 1),
    "pointwise": ("dense", (1, 1), 1),
    "dense 3x3": ("dense", (3, 3), 1),
}


def chain(kind: str, size: tuple[int, int], dilation: int) -> tf.types.experimental.ConcreteFunction:
    """A function of (1, 56, 56, 18) that applies eight such convolutions with random weights."""
    generator = np.random.default_rng(0)
    shape = (*size, CHANNELS, 1 if kind == "depthwise" else CHANNELS)
    gain = (np.prod(size) * (1 if kind == "depthwise" else CHANNELS)) ** -0.5
    kernels = [tf.constant((generator.normal(size=shape) * gain).astype(np.float32)) for _ in range(LENGTH)]

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, CHANNELS), tf.float32)])
    def apply(x):
        for kernel in kernels:
            if kind == "depthwise":
                x = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME", dilations=[dilation] * 2)
            else:
                x = tf.nn.conv2d(x, kernel, 1, "SAME", dilations=dilation)
        return x

    return apply.get_concrete_function()


def convert(function, int8: bool) -> bytes:
    """The function as a float32 or an all-int8 `.tflite`."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if int8:
        generator = np.random.default_rng(1)
        samples = generator.normal(size=(4, 1, SIDE, SIDE, CHANNELS)).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main() -> None:
    """Measure, print and write."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, size, dilation) in KERNELS.items():
            files = [Path(folder) / f"{dtype}.tflite" for dtype in ("float32", "int8")]
            function = chain(kind, size, dilation)
            for file, int8 in zip(files, (False, True), strict=True):
                file.write_bytes(convert(function, int8))
            floating, int8 = benchmark.measure([str(file) for file in files], threads=1, runs=RUNS, warmup=5)
            microseconds = {k: v["median_ms"] * 1000 / LENGTH for k, v in (("float32", floating), ("int8", int8))}
            rows.append({"operation": name, **microseconds, "speed": int8["speed"]})
            print(f"{name:28s} {microseconds['float32']:7.1f} us  {microseconds['int8']:7.1f} us  {int8['speed']:.2f}x")
    machine.write("kernels", {"protocol": f"{SIDE}x{SIDE}x{CHANNELS}, one thread, us per operation", "rows": rows})


if __name__ == "__main__":
    main()
