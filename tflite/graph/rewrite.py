"""A trained network as the same function in operations that the int8 kernels like: the passes in their order.

`rewrite` applies them; `python -m tflite.inspect --rewrites MODEL` prints what each of them did.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable

import numpy as np

from tflite.graph import layout, passes
from tflite.graph.equalise import equalise
from tflite.graph.representation import Graph, Node

PASSES = (
    passes.drop_final_activation,
    passes.merge_padding,
    passes.merge_pools,
    passes.pool_to_convolution,
    passes.batch_norm_before_concat,
    passes.fold_batch_norm,
    passes.pointwise_before_upsampling,
    passes.fold_normalisation,
    passes.lone_affine_to_depthwise,
    passes.relu_before_concat,
)
ACTIVATION_PASSES = (passes.flip_steep_prelu, passes.prelu_to_relu, passes.hard_silu_to_product)
TARGETS = ("any", "accelerator")  # layouts of an integer model: what CPUs like, or plain and small


def rewrite(graph: Graph, images: np.ndarray | None = None, target: str = "any") -> Graph:
    """All passes in their order; `equalise` and those for int8 follow when there are calibration `images`, RGB uint8.

    A float model keeps PRELU, which is fast there, and the plain layout, which GPUs want. `target`: see `TARGETS`.
    """
    for step in steps(images, target):
        graph = step(graph)
    return graph


def simplify(graph: Graph, images: np.ndarray | None = None) -> Graph:
    """The passes before the layout's: what fine-tuning trains, with each weight in one place."""
    for step in PASSES:
        graph = step(graph)
    if images is not None:
        graph = equalise(graph, images)
        for step in ACTIVATION_PASSES:
            graph = step(graph)
    return graph


def lay_out(graph: Graph, target: str = "any") -> Graph:
    """The passes of `layout`, for int8 on CPUs; other targets keep the plain layout."""
    for step in layout.PASSES if target == "any" else ():
        graph = step(graph)
    return graph


def steps(images: np.ndarray | None = None, target: str = "any") -> tuple[Callable[[Graph], Graph], ...]:
    """The passes that `rewrite` takes, in order, each a function of a graph alone."""
    if images is None:
        return PASSES
    for_cpus = layout.PASSES if target == "any" else ()
    return (*PASSES, functools.partial(equalise, images=images), *ACTIVATION_PASSES, *for_cpus)


def give(graph: Graph, kind: str) -> Graph:
    """The graph with an end that gives "probabilities" or "labels" in the place of the "logits"; see runtime.py.

    What is no picture, a classifier's vector, becomes one of a single pixel. A graph that gives probabilities by itself
    keeps them as they are.
    """
    graph = graph.copy()

    def append(name: str, op: str, shape: tuple[int, ...], attributes: dict | None = None, **weights) -> None:
        node = Node(graph.unique(name), op, (graph.output,), shape, attributes or {}, weights)
        graph.nodes[node.name], graph.output = node, node.name

    probable, shape = passes.gives_probabilities(graph), graph.nodes[graph.output].shape
    if len(shape) == 1:
        shape = (1, 1, *shape)
        append("pixel", "reshape", shape)
    if kind == "probabilities" and not probable:
        append(kind, "activation", shape, {"function": "sigmoid" if shape[-1] == 1 else "softmax"})
    elif kind == "labels":
        if probable and shape[-1] == 1:  # a foreground's label begins at a probability of 1/2
            append("centred", "affine", shape, scale=np.ones(1), offset=np.full(1, -0.5))
        append(kind, "labels", (*shape[:2], 1))
    return graph


def report(graph: Graph, target: str = "any") -> str:
    """What each pass does to the graph, a line each: what it is for, and the operations before and after."""
    lines = [f"{graph.name}: {_count(graph)}"]
    for step in (*PASSES, *ACTIVATION_PASSES, *(layout.PASSES if target == "any" else ())):
        before, graph = graph, step(graph)
        changes = Counter(node.op for node in graph)
        changes.subtract(Counter(node.op for node in before))
        shown = ", ".join(f"{op} {n:+d}" for op, n in sorted(changes.items()) if n)
        lines.append(f"{step.__name__}: {shown or 'the same operations'}\n    {step.__doc__.splitlines()[0]}")
    return "\n".join([*lines, f"{graph.name}: {_count(graph)}"])


def _count(graph: Graph) -> str:
    counts = Counter(node.op for node in graph)
    return f"{sum(counts.values())} operations: " + ", ".join(f"{n} {op}" for op, n in counts.most_common())
