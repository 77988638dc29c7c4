"""What a fine-tuned `.tflite` is: its agreement with the network as it was trained, its zeros and distinct weights.

All of it is read from the file, or measured by running it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from keras_models import metrics
from tflite import runtime
from tflite.graph import Graph, rewrite
from tflite.quantize.bridge import PRUNED, Bridge, Ranges, Technique
from tflite.quantize.plan import Material, Plan, iou, iou_name

_STORED = {"conv": (3, 0, 1, 2), "transposed_conv": (2, 0, 1, 3), "dense": (1, 0)}  # order of a kernel's axes there


def measure(path: Path, graph: Graph, plan: Plan, material: Material, laid_out: bool) -> tuple[dict, list[str]]:
    """Figures of the `.tflite` at `path`, made from the tuned `graph`, and what it lacks of what the plan asked for.

    agreement: share of validation pixels with the label of the network as it was trained, rounding included.
    """
    segmenter = runtime.Segmenter(path)
    reference = Bridge(graph, Technique(int8=plan.int8), 1)
    if plan.int8:
        reference.set_ranges(Ranges(graph, material.calibration).of(graph))
    own, trained = iou(material.classes), iou(material.classes)
    agreement, error = [], []  # of each image
    for images, labels in material.validation:
        images = np.asarray(images)
        wanted = np.asarray(reference.model(images / np.float32(255), training=False))
        got = np.stack([segmenter.logits(image) for image in images])
        error.extend(np.abs(got - wanted).mean(axis=(1, 2, 3)))
        masks = (np.asarray(metrics.predicted_labels(logits, material.classes)) for logits in (wanted, got))
        agreement.extend(np.equal(*masks).mean(axis=(1, 2)))
        for metric, logits in ((trained, wanted), (own, got)):
            metric.update_state(labels, metrics.without_void(logits, material.classes))
    figures = {
        "images": len(agreement),
        "iou_name": iou_name(material.classes),
        "iou": float(own.result()),
        "trained_iou": float(trained.result()),
        "agreement": float(np.mean(agreement)),
        "mean_logit_error": float(np.mean(error)),
        "gzip_bytes": len(gzip.compress(path.read_bytes(), mtime=0)),
    }
    if not plan.sparsity and not plan.clusters:
        return figures, []
    try:
        figures |= count(path, graph, laid_out)
    except ValueError as error:
        return figures, [str(error)]
    missing = []
    if plan.sparsity and figures["sparsity"] < plan.sparsity - 0.01:
        missing.append(f"{figures['sparsity']:.1%} of the weights are zero, not {plan.sparsity:.1%}")
    if plan.clusters and figures["distinct_weights"] > plan.clusters:
        missing.append(f"a kernel has {figures['distinct_weights']} distinct weights, not {plan.clusters}")
    return figures, missing


def report(figures: dict) -> str:
    """The figures of `measure`, for people."""
    lines = [
        f"checked on {figures['images']} validation images: {figures['iou_name']} {figures['iou']:.4f}, as trained "
        f"{figures['trained_iou']:.4f}; labels agree on {figures['agreement']:.2%} of the pixels, logits to "
        f"{figures['mean_logit_error']:.3f} on average"
    ]
    if "sparsity" in figures:
        lines.append(
            f"{figures['sparsity']:.1%} of {figures['weights']} weights are zero, at most "
            f"{figures['distinct_weights']} distinct ones in one {figures['distinct_in']} "
            f"(depthwise kernels are left as they were); {figures['gzip_bytes'] / 1024:.0f} KiB with gzip"
        )
    return "\n".join(lines)


def count(path: str | Path, graph: Graph, laid_out: bool) -> dict:
    """Figures of the kernels that pruning and clustering take: all but the depthwise ones.

    `graph` is what the file was made from, before its layout, if `laid_out`. sparsity: the share of zeros.
    distinct_weights: the most that a kernel has, or one output channel of it where it is int8, since each has a scale
    of its own. The zeros between kernels that the layout merges count for nothing. ValueError when the file does not
    hold the graph's weights.
    """
    places = graph.copy()
    for node in graph:
        if "kernel" in node.weights:
            kernel = np.full(node["kernel"].shape, float(node.op in PRUNED))
            places.replace(node, node.but(kernel=kernel))
    if laid_out:
        graph, places = rewrite.lay_out(graph), rewrite.lay_out(places)
    constants, zeros, weights, distinct, where = _constants(path), 0, 0, 0, "kernel"
    for node in graph:
        if node.op not in PRUNED or not places.nodes[node.name]["kernel"].any():
            continue
        kernel, place = (g.nodes[node.name]["kernel"].transpose(_STORED[node.op]) for g in (graph, places))
        stored, channelwise = _find(constants, kernel, node.name)
        place = place != 0
        zeros += int((stored[place] == 0).sum())
        weights += int(place.sum())
        parts = list(zip(stored, place, strict=True)) if channelwise else [(stored, place)]
        distinct = max([distinct, *(len(np.unique(values[there])) for values, there in parts)])
        where = "output channel" if channelwise else where
    return {
        "weights": weights,
        "sparsity": zeros / max(weights, 1),
        "distinct_weights": distinct,
        "distinct_in": where,
    }


def _constants(path: str | Path) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """(stored values, their real values, half a step) of the tensors that hold data before the model has run."""
    interpreter = runtime.load_interpreter(path, delegates=False)
    written = {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    found = []
    for details in interpreter.get_tensor_details():
        if int(details["index"]) in written or len(details["shape"]) not in (2, 4):
            continue
        stored = interpreter.get_tensor(details["index"])
        quantization = details["quantization_parameters"]
        scales, real, step = quantization["scales"], stored.astype("float32"), 1e-3 * np.abs(stored).max(initial=0)
        if len(scales):
            shape = [1] * stored.ndim
            shape[quantization["quantized_dimension"]] = -1
            scales = scales.reshape(shape) if len(scales) > 1 else scales
            real, step = real * scales, 0.5 * scales
        found.append((stored, real, step))
    return found


def _find(constants: list, kernel: np.ndarray, name: str) -> tuple[np.ndarray, bool]:
    """The stored kernel nearest to `kernel`, and whether each of its output channels has a scale of its own."""
    for stored, real, step in constants:
        if stored.shape == kernel.shape and np.all(np.abs(real - kernel) <= 1.01 * step + 1e-7):
            return stored, stored.dtype == np.int8
    raise ValueError(f"The file does not hold the weights of {name!r} as they were trained")
