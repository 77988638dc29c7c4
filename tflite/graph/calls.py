"""What a Keras model calls, layer by layer, and a call as one node that computes what Keras does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation of a model, of its nested models too.

    `run(tensors)` computes it in inference, of the values of `inputs`, which are numbers of `values` before it; its
    results are `outputs` (numbers) with the shapes `shapes`, without the batch. `real`: no integer goes in or out.
    """

    operation: object
    arguments: object  # Keras' own record of the call
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    real: bool = True

    def run(self, tensors: list) -> list:
        import keras

        given = {id(kept): tensor for kept, tensor in zip(self.arguments.keras_tensors, tensors, strict=True)}
        args, kwargs = self.arguments.fill_in(given)
        if getattr(self.operation, "_call_has_training_arg", False):
            kwargs.setdefault("training", False)
        return keras.tree.flatten(self.operation(*args, **kwargs))


def calls(model) -> tuple[list[Call], int]:
    """What a functional model calls, in order, with nested models opened; and the number of its output value.

    Value 0 is the image.
    """
    found, numbers = [], itertools.count(1)

    def walk(network, inputs: tuple[int, ...]) -> list[int]:
        values = {id(tensor): number for tensor, number in zip(network.inputs, inputs, strict=True)}
        for call in _in_order(network):
            taken = tuple(values[id(tensor)] for tensor in call.input_tensors)
            nested = functional(call.operation)
            if nested is not None and not _is_trained_here(call):
                made = walk(nested, taken)
            else:
                made = [next(numbers) for _ in call.outputs]
                shapes = tuple(tuple(output.shape[1:]) for output in call.outputs)
                real = all("float" in str(tensor.dtype) for tensor in (*call.input_tensors, *call.outputs))
                found.append(Call(call.operation, call.arguments, taken, tuple(made), shapes, real))
            values.update(zip(map(id, call.outputs), made, strict=True))
        return [values[id(tensor)] for tensor in network.outputs]

    (output,) = walk(functional(model), (0,))
    return found, output


def _in_order(network) -> Iterator:
    for depth in sorted(network._nodes_by_depth, reverse=True):
        yield from (call for call in network._nodes_by_depth[depth] if not call.is_input)


def functional(operation):
    """A functional or Sequential model as the former; None for anything else, and for one with a call of its own."""
    import keras
    from keras.src.models.functional import Functional

    if isinstance(operation, keras.Sequential):
        return operation._functional
    plain = isinstance(operation, Functional) and type(operation).call in (Functional.call, keras.Model.call)
    return operation if plain else None


def _is_trained_here(call) -> bool:
    """Whether a call asks for what layers do in training, dropout for example."""
    return bool(call.arguments.kwargs.get("training"))


@dataclass
class Step:
    """A node to be: `suffix` for its name, `shape` where it is not the call's output's."""

    op: str
    attributes: dict
    weights: dict
    suffix: str = ""
    shape: tuple[int, ...] | None = None


def as_keras(call: Call, position: int) -> Step:
    """The call as it is, with its float variables as the node's weights."""
    variables = list(getattr(call.operation, "variables", ()))
    state = {f"variable_{i}": np.asarray(v) for i, v in enumerate(variables)}
    weights = {name: value for name, value in state.items() if np.issubdtype(value.dtype, np.floating)}

    def compute(tensors: list, given: dict):
        import keras

        # What is no float (the state of random numbers) keeps its value; nothing is written back.
        values = (state | given).values()
        with keras.StatelessScope(list(zip(variables, values, strict=True)), initialize_variables=False):
            return call.run(tensors)[position]

    return Step("keras", {"call": compute}, weights)


class One:
    """The record of a call with one tensor."""

    def __init__(self):
        self.keras_tensors = [self]

    def fill_in(self, given: dict):
        return (given[id(self)],), {}
