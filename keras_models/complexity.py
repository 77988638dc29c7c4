"""Parameters, multiply-accumulates and FLOPs of a network, counted as the papers count them.

The rules are those of ExtremeC3Net's table 8, which the C3 paper shares: for one image, in FLOPs,

    convolution            2 per multiply-accumulate: Ho * Wo * kernel height * width * Ci * Co / groups
    deconvolution          the same at the input's size
    fully connected        2 per multiply-accumulate
    batch normalisation    2 per value
    activation             1 per value; sigmoid and softmax nothing
    pooling                1 per value of the input, average and maximum
    bilinear upsampling    3 per value of the input (the C3 paper: 13)

Bias, addition, concatenation, padding and the normalisation of the image cost nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
from keras import layers

from keras_models.layers import BilinearDeconvolution, BilinearUpsampling, Idle

_AT_OUTPUT = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_AT_INPUT = (layers.Conv2DTranspose, layers.Dense)
_POOLING = (
    layers.AveragePooling2D,
    layers.MaxPooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
)
_RECTIFIERS = (layers.ReLU, layers.PReLU, layers.LeakyReLU, layers.ELU)
_FREE_ACTIVATIONS = ("linear", "sigmoid", "hard_sigmoid", "softmax", "log_softmax")


@dataclass(frozen=True)
class Complexity:
    """`parameters`: trainable ones; `macs` and `flops`: for one image of the model's input size."""

    parameters: int
    macs: int
    flops: int


@dataclass(frozen=True)
class LayerCost:
    """One call of a layer: `parameters` are its trainable ones, 0 from the second call of the same layer on."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    flops: int


def count(model: keras.Model, bilinear_flops: int = 3) -> Complexity:
    """Count a functional model with a fixed input size; `bilinear_flops` is the cost per input value of an upsampling.

    A layer that is called several times counts each time. Raises ValueError for a model without a graph, an open height
    or width, and a layer with weights whose cost is not known.
    """
    costs = by_layer(model, bilinear_flops)
    return Complexity(*(sum(getattr(cost, what) for cost in costs) for what in ("parameters", "macs", "flops")))


def by_layer(model: keras.Model, bilinear_flops: int = 3) -> list[LayerCost]:
    """What `count` sums up: the costs of the layers, in the order in which they run; raises what `count` raises."""
    return _costs(model, bilinear_flops, set())


def _costs(model, bilinear_flops, seen) -> list[LayerCost]:
    """`by_layer`; the weights of the layers in `seen`, which grows, have been counted already."""
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(f"Only a functional model can be counted. Received: {type(model).__name__} {model.name!r}")
    costs = []
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            layer, inputs, outputs = node.operation, node.input_tensors, node.outputs
            if isinstance(layer, keras.Model):
                costs += _costs(layer, bilinear_flops, seen)
            elif inputs:
                macs = _macs(layer, inputs[0], outputs[0])
                others = _other_flops(layer, inputs[0], outputs[0], bilinear_flops)
                weights = [] if layer in seen else getattr(layer, "trainable_weights", [])
                parameters = sum(math.prod(weight.shape) for weight in weights)
                shape = tuple(outputs[0].shape[1:])
                costs.append(LayerCost(layer.name, type(layer).__name__, shape, parameters, macs, 2 * macs + others))
                seen.add(layer)
    return costs


def _macs(layer, x, y) -> int:
    if isinstance(layer, _AT_OUTPUT):
        return _kernel_size(layer) * _values(layer, y.shape[1:-1])
    if isinstance(layer, _AT_INPUT):
        return _kernel_size(layer) * _values(layer, x.shape[1:-1])
    if isinstance(layer, BilinearDeconvolution):  # one kernel of twice the stride for each channel
        return math.prod(2 * side for side in layer.size) * _values(layer, x.shape[1:])
    if getattr(layer, "weights", None) and not isinstance(
        layer, (layers.BatchNormalization, layers.Normalization, Idle, *_RECTIFIERS)
    ):
        raise ValueError(
            f"No rule for the cost of a layer of this type; add one to {__name__}. "
            f"Received: {type(layer).__name__} {layer.name!r}"
        )
    return 0


def _other_flops(layer, x, y, bilinear_flops) -> int:
    if isinstance(layer, layers.BatchNormalization):
        return 2 * _values(layer, y.shape[1:])
    if isinstance(layer, _POOLING):
        source = x._keras_history.operation
        return _values(layer, (source.input if isinstance(source, layers.ZeroPadding2D) else x).shape[1:])
    if isinstance(layer, BilinearDeconvolution):
        return 0
    if isinstance(layer, (BilinearUpsampling, layers.UpSampling2D, layers.Resizing)):
        return (
            bilinear_flops * _values(layer, x.shape[1:]) * (getattr(layer, "interpolation", "bilinear") == "bilinear")
        )
    # Convolutions and dense layers may have an activation of their own.
    activation = getattr(layer, "activation", keras.activations.linear)
    if isinstance(layer, _RECTIFIERS) or getattr(activation, "__name__", "") not in _FREE_ACTIVATIONS:
        return _values(layer, y.shape[1:])
    return 0


def _kernel_size(layer) -> int:
    """Weights of a convolution, deconvolution or dense layer without its bias."""
    if isinstance(layer, layers.SeparableConv2D):
        return math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
    return math.prod(layer.kernel.shape)


def _values(layer, shape) -> int:
    """Product of `shape`, which must be known."""
    if None in shape:
        raise ValueError(f"Counting needs a fixed height and width. Received: {shape} at layer {layer.name!r}")
    return math.prod(shape)
