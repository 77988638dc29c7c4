"""A functional Keras 3 model as a Graph.

A layer whose configuration is known here becomes the operations that the passes know. Any other layer or operation, and
any other configuration of a known one, goes through untouched, as a "keras" node that TensorFlow traces as it is.
"""

from __future__ import annotations

import numpy as np

from keras_models.command import UserError
from tflite.graph.calls import Call, Step, as_keras, calls, functional
from tflite.graph.keras_layers import steps
from tflite.graph.representation import Graph, Node


def read(model) -> Graph:
    """The graph of a functional Keras 3 model with one image in (RGB 0-255 there, 0-1 here) and one tensor out.

    UserError for a model that is not functional, has a dynamic height or width, or more than one input or output.
    """
    if functional(model) is None:
        raise UserError(
            f"The conversion takes functional and Sequential models. Received: {type(model).__name__}, which computes "
            "in Python code of its own; build it from layers with keras.Model(inputs, outputs)"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"The conversion takes models with one input and one output. Received: {len(model.inputs)} and "
            f"{len(model.outputs)} in {model.name!r}"
        )
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3 or None in shape or shape[2] != 3:
        raise UserError(
            f"The conversion needs a fixed input size, (height, width, 3); build the network with input_size=(h, w). "
            f"Received: {shape} in {model.name!r}"
        )
    return read_calls(model)[0]


def read_calls(model) -> tuple[Graph, list[Call], dict[int, str]]:
    """The graph of a model as `read` takes it, its calls, and which node makes each of the values that they count."""
    shape = tuple(model.inputs[0].shape[1:])
    weights = {"scale": np.full(3, 255.0), "offset": np.zeros(3)}
    nodes = [Node("image", "input", (), shape), Node("bytes", "affine", ("image",), shape, {}, weights)]
    graph, made_by = Graph(model.name, nodes, "bytes"), {0: "bytes"}
    found, output = calls(model)
    for call in found:
        inputs = tuple(made_by[number] for number in call.inputs)
        known = steps(call, [graph.nodes[name].shape for name in inputs])
        if known == []:  # nothing to do at inference
            made_by[call.outputs[0]] = inputs[0]
            continue
        for position, number in enumerate(call.outputs):
            mine = [as_keras(call, position)] if known is None else known
            made_by[number] = _append(graph, call, position, mine, inputs)
    graph.output = made_by[output]
    graph.prune()  # of auxiliary outputs
    return graph, found, made_by


def _append(graph: Graph, call: Call, position: int, steps: list[Step], inputs: tuple[str, ...]) -> str:
    """The steps as nodes in a row; the name of the last. The one without a suffix has the layer's name."""
    name = call.operation.name if position == 0 else f"{call.operation.name}_output{position + 1}"
    named = graph.unique(f"{name}_call2" if name in graph.nodes else name)
    for step in steps:
        weights = {key: np.asarray(value, "float64") for key, value in step.weights.items()}
        own = graph.unique(f"{named}_{step.suffix}") if step.suffix else named
        shape = call.shapes[position] if step.shape is None else step.shape
        graph.nodes[own] = Node(own, step.op, inputs, tuple(shape), step.attributes, weights)
        inputs = (own,)
    return inputs[0]
