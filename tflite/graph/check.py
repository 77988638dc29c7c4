"""Is it still the same function? The Keras model, the graph read from it, the rewritten graph and the float file.

Each comparison is on images, by the largest difference as a share of the largest value; what differs by more than
`LIMIT` is an error that names the first layer that does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_models.command import UserError
from tflite import runtime
from tflite.graph.emitter import run, run_every
from tflite.graph.reader import read_calls
from tflite.graph.representation import Graph

LIMIT = 1e-4


class DifferenceError(UserError):
    """Two stages of the conversion are not the same function; the message names the first layer that differs."""


def test_images(size: tuple[int, int], count: int = 2) -> np.ndarray:
    """RGB uint8 (count, height, width, 3) that reach what photos reach: areas of one colour, edges and noise."""
    generator = np.random.default_rng(0)
    rows, columns = (np.arange(side) * 6 // side for side in size)
    areas = generator.integers(0, 256, (count, 6, 6, 3))[:, rows[:, None], columns]
    return np.clip(areas + generator.normal(0, 20, areas.shape), 0, 255).astype(np.uint8)


def difference(expected: np.ndarray, found: np.ndarray, share: float = 1.0) -> float:
    """The largest difference as a share of the largest value; infinite for other shapes and for what is no number.

    With `share` below 1 the largest of that share of the values.
    """
    if expected.shape != found.shape or not np.isfinite(found).all():
        return np.inf
    error = np.quantile(np.abs(expected - found), share) if share < 1 else np.abs(expected - found).max(initial=0)
    return float(error / max(np.abs(expected).max(initial=0), 1e-30))


def agreeing_share(graph: Graph) -> float:
    """Of the values that must agree: where maxima are equal but for rounding, an unpooled one may stand elsewhere."""
    return 0.98 if any(node.op == "max_unpool" for node in graph) else 1.0


def with_keras(model, images: np.ndarray) -> float:
    """The difference of the graph that is read of `model` from the model itself, on `images`, RGB uint8.

    DifferenceError when it is above `LIMIT`.
    """
    import keras

    graph, calls, made_by = read_calls(model)
    # One image at a time: some operations do not keep images apart.
    values = [keras.ops.convert_to_numpy(model(image[None].astype("float32"), training=False)) for image in images]
    worst = difference(np.concatenate(values), run(graph, images / np.float32(255)), agreeing_share(graph))
    if worst <= LIMIT:
        return worst
    kept = {0: images[:1].astype("float32")}
    ours = run_every(graph, images[:1] / np.float32(255))
    for call in calls:
        for number, value in zip(call.outputs, call.run([kept[i] for i in call.inputs]), strict=True):
            kept[number] = value
            expected = keras.ops.convert_to_numpy(value)
            if made_by[number] in ours and difference(expected, ours[made_by[number]]) > LIMIT:
                raise DifferenceError(
                    f"{model.name!r} as it is read for the conversion differs from the network in Keras by {worst:.1e} "
                    f"of the largest value; the first layer that differs is {call.operation.name!r} "
                    f"({type(call.operation).__name__}). Nothing is written. Replace the layer, and report it"
                )
    raise DifferenceError(
        f"{model.name!r} as it is read for the conversion differs from the network in Keras by {worst:.1e} of the "
        "largest value, though no layer of it does on its own: the network magnifies rounding. Nothing is written"
    )


def rewritten(before: Graph, after: Graph, images: np.ndarray, passes: tuple[Callable[[Graph], Graph], ...]) -> float:
    """The difference of `after` from `before`, of which it was made by `passes`, on `images`, RGB uint8.

    DifferenceError when it is above `LIMIT`.
    """
    inputs = images / np.float32(255)
    worst = difference(run(before, inputs), run(after, inputs), agreeing_share(before))
    if worst <= LIMIT:
        return worst
    for step in passes:
        changed = step(before)
        old, new = (run_every(graph, inputs[:1]) for graph in (before, changed))
        if difference(old[before.output], new[changed.output]) > LIMIT:
            same = [node.name for node in changed if before.nodes.get(node.name) is node]
            first = next((name for name in same if difference(old[name], new[name]) > LIMIT), changed.output)
            name = getattr(step, "__name__", "equalise")
            raise DifferenceError(
                f"The rewrite {name!r} changes {before.name!r} by {worst:.1e} of the largest value; the first layer "
                f"that differs is {first!r}. Nothing is written. Please report it"
            )
        before = changed
    raise DifferenceError(
        f"The rewrites change {before.name!r} by {worst:.1e} of the largest value, though none of them does alone: the "
        "network magnifies rounding. Nothing is written"
    )


def float_file(path: str | Path, graph: Graph, images: np.ndarray) -> float:
    """The difference of the float32 `.tflite` at `path` from `graph`, of which it was made, on `images`, RGB uint8.

    DifferenceError when it is above `LIMIT`.
    """
    inputs = images / np.float32(255)
    worst = difference(run(graph, inputs), run_file(path, inputs), agreeing_share(graph))
    if worst <= LIMIT:
        return worst
    expected, first = run_every(graph, inputs[:1]), graph.output
    interpreter = runtime.load_interpreter(path, delegates=False, keep_tensors=True)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs[:1])
    interpreter.invoke()
    made = {}  # by layer, the last tensor that bears its name
    for operation in interpreter._get_ops_details():
        index = int(operation["outputs"][0])
        made[interpreter._get_tensor_details(index, 0)["name"].split(";")[0].split("/")[0]] = index
    for name, index in made.items():
        if name in expected and LIMIT < difference(expected[name], interpreter.get_tensor(index)) < np.inf:
            first = name
            break
    raise DifferenceError(
        f"The float file of {graph.name!r} differs from what it was made of by {worst:.1e} of the largest value; the "
        f"first layer that differs is {first!r}. Nothing is written. Please report it"
    )


def run_file(path: str | Path, inputs: np.ndarray) -> np.ndarray:
    """What the `.tflite` at `path` makes of `inputs` (n, height, width, 3), RGB 0-1, as real numbers."""
    interpreter = runtime.load_interpreter(path)
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    results = []
    for image in inputs:
        interpreter.set_tensor(takes["index"], runtime.stored(image[None], takes))
        interpreter.invoke()
        results.append(runtime.real(interpreter.get_tensor(gives["index"]), gives))
    return np.concatenate(results)
