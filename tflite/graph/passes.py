"""The rewrites: each takes a Graph and gives another that computes the same, to float rounding."""

from __future__ import annotations

import numpy as np

from tflite.graph.representation import NO_PADDING, Graph, Node

LINEAR = ("conv", "depthwise")


def drop_final_activation(graph: Graph) -> Graph:
    """The last softmax or sigmoid goes: the file gives logits, and its spec names the activation to apply.

    At full resolution it costs as much as a third of a small network, and its labels are those of the logits. Behind it
    may stand what only moves pixels; what mixes them, a bilinear upsampling, would give something else of logits.
    """
    graph = graph.copy()
    node = _final(graph, _MOVES)
    if node is not None and (node["function"] == "softmax") == (node.shape[-1] > 1):
        graph.drop(node)
    return graph


def gives_probabilities(graph: Graph) -> bool:
    """Whether what comes out has been through a softmax or sigmoid, and at most been resized since."""
    return _final(graph, (*_MOVES, "resize", "average_pool")) is not None


_MOVES = ("crop", "reshape", "nearest")  # they leave a pixel's channels together and as they are


def _final(graph: Graph, between: tuple[str, ...]) -> Node | None:
    """The softmax or sigmoid that the output comes from, through operations in `between` that nothing else reads."""
    node = graph.nodes[graph.output]
    while node.op != "activation":
        source = graph.nodes[node.inputs[0]] if len(node.inputs) == 1 else None
        kind = "nearest" if node.op == "resize" and node["method"] == "nearest" else node.op
        if kind not in between or source.shape[-1:] != node.shape[-1:] or graph.only_consumer(source) is None:
            return None
        node = source
    return node if node["function"] in ("softmax", "sigmoid") else None


def merge_padding(graph: Graph) -> Graph:
    """Zero padding in front of a convolution becomes the convolution's own."""
    graph = graph.copy()
    for node in graph:
        if node.op == "pad" and all(c.op in LINEAR for c in graph.consumers(node)) and node.name != graph.output:
            for consumer in graph.consumers(node):
                both = zip(consumer["padding"], node["padding"], strict=True)
                padding = tuple((a + c, b + d) for (a, b), (c, d) in both)
                graph.replace(consumer, consumer.but(padding=padding))
            graph.drop(node)
    return graph


def merge_pools(graph: Graph) -> Graph:
    """Average pooling of average pooling becomes one, over the larger window."""
    graph = graph.copy()
    for node in graph:
        before = graph.producer(node) if _is_tiling(node) else None
        if before is not None and _is_tiling(before):
            size = tuple(a * b for a, b in zip(before["size"], node["size"], strict=True))
            graph.replace(node, node.but(inputs=before.inputs, size=size, strides=size))
    graph.prune()
    return graph


def _is_tiling(node: Node) -> bool:
    return node.op == "average_pool" and node["size"] == node["strides"] and node["padding"] == NO_PADDING


def pool_to_convolution(graph: Graph) -> Graph:
    """Average pooling without padding becomes a depthwise convolution with a constant kernel.

    AVERAGE_POOL_2D is not an int8 operation of XNNPACK, and it must keep its input's scale, which then spoils the
    scale of whatever it is concatenated with, up to the image's own.
    """
    graph = graph.copy()
    for node in graph:
        if node.op == "average_pool" and node["padding"] == NO_PADDING:
            channels = node.shape[-1]
            kernel = np.full((*node["size"], channels, 1), 1 / np.prod(node["size"]))
            graph.replace(node, _depthwise(node.name, node.inputs[0], node.shape, kernel, strides=node["strides"]))
    return graph


def batch_norm_before_concat(graph: Graph) -> Graph:
    """Batch normalisation after a concatenation moves in front of it, one part per input.

    There the convolutions can take it in. And an int8 concatenation has one scale for all its inputs: a stem whose
    values are small beside the image's would lose all its bits before the normalisation that makes them equal.
    """
    graph = graph.copy()
    for node in graph:
        if node.op != "affine":
            continue
        concat = graph.producer(node)
        if concat.op != "concat" or concat["axis"] != 2 or graph.only_consumer(concat) is None:
            continue
        parts, start = [], 0
        for i, name in enumerate(concat.inputs):
            source = graph.nodes[name]
            channels = slice(start, start + source.shape[-1])
            start = channels.stop
            weights = {k: node[k][channels] for k in ("scale", "offset")}
            own = graph.unique(f"{node.name}_{i + 1}")
            parts.append(Node(own, "affine", (name,), source.shape, {}, weights))
        graph.drop(node)
        graph.replace(concat, *parts, concat.but(inputs=tuple(part.name for part in parts)))
    return graph


def fold_batch_norm(graph: Graph) -> Graph:
    """Batch normalisation goes into the convolution before it, where nothing else reads that convolution."""
    graph = graph.copy()
    for node in graph:
        if node.op != "affine":
            continue
        before = graph.producer(node)
        if graph.only_consumer(before) is None:
            continue
        scale, offset = node["scale"], node["offset"]
        if before.op == "affine":
            merged = before.but(scale=before["scale"] * scale, offset=before["offset"] * scale + offset)
        elif before.op in LINEAR and before["activation"] is None:
            merged = before.but(kernel=scaled_kernel(before, scale), bias=before["bias"] * scale + offset)
        elif before.op == "transposed_conv":
            merged = before.but(kernel=before["kernel"] * scale[:, None], bias=before["bias"] * scale + offset)
        elif before.op == "dense":
            merged = before.but(kernel=before["kernel"] * scale, bias=before["bias"] * scale + offset)
        else:
            continue
        graph.replace(before, merged)
        graph.drop(node)
    return graph


def fold_normalisation(graph: Graph) -> Graph:
    """The image's normalisation goes into the convolutions that read it.

    Zero padding comes after normalisation, so what is padded around the raw image is the colour that normalises to
    zero; it is a constant row and column, since one PAD takes one number for all three channels.
    """
    graph = graph.copy()
    image = next(node for node in graph if node.op == "input")
    affine = graph.only_consumer(image)
    if affine is None or affine.op != "affine":
        return graph
    if not all(c.op == "depthwise" or (c.op == "conv" and c["groups"] == 1) for c in graph.consumers(affine)):
        return graph
    scale, offset = affine["scale"], affine["offset"]
    if affine.name == graph.output or not scale.all():
        return graph
    framed = {NO_PADDING: image.name}
    for node in graph.consumers(affine):
        padding = _needed_padding(node, image.shape)
        if padding not in framed:
            frame = _frame(graph, image, -offset / scale, padding, f"{node.name}_frame")
            graph.replace(affine, *frame, affine)
            framed[padding] = frame[-1].name
        summed = (0, 1) if node.op == "depthwise" else (0, 1, 2)
        bias = node["bias"] + (node["kernel"] * offset[:, None]).sum(summed).reshape(-1)
        kernel = node["kernel"] * scale[:, None]
        graph.replace(node, node.but(inputs=(framed[padding],), kernel=kernel, bias=bias, padding=NO_PADDING))
    graph.prune()
    return graph


def _needed_padding(node: Node, shape) -> tuple:
    """A convolution's padding without the rows and columns at the bottom and right that its stride never reaches."""
    needed = []
    for axis, (before, after) in enumerate(node["padding"]):
        reach = (node.shape[axis] - 1) * node["strides"][axis]
        reach += (node["kernel"].shape[axis] - 1) * node["dilation"][axis] + 1
        needed.append((before, min(after, max(0, reach - before - shape[axis]))))
    return tuple(needed)


def _frame(graph: Graph, image: Node, colour: np.ndarray, padding, name: str) -> list[Node]:
    """Nodes that put constant rows and columns of `colour` around the image."""
    nodes, last = [], image
    for axis, word in ((1, "column"), (0, "row")):
        parts = []
        for side, amount in zip(("before", "after"), padding[axis], strict=True):
            if side == "after":
                parts.append(last.name)
            if amount:
                shape = tuple(amount if a == axis else n for a, n in enumerate(last.shape))
                value = np.broadcast_to(colour, shape).copy()
                own = graph.unique(f"{name}_{word}_{side}")
                nodes.append(Node(own, "constant", (), shape, {}, {"value": value}))
                parts.append(nodes[-1].name)
        if len(parts) > 1:
            size = last.shape[axis] + sum(padding[axis])
            shape = tuple(size if a == axis else n for a, n in enumerate(last.shape))
            last = Node(graph.unique(f"{name}_{word}s"), "concat", tuple(parts), shape, {"axis": axis})
            nodes.append(last)
    return nodes


def pointwise_before_upsampling(graph: Graph) -> Graph:
    """A pointwise convolution after an upsampling moves in front of it where it has fewer outputs than inputs.

    They commute exactly: the weights of an interpolation sum to one, so even the bias may pass.
    """
    graph = graph.copy()
    for node in graph:
        if not is_pointwise(node) or node["activation"]:
            continue
        before = graph.producer(node)
        if before.op != "resize" or graph.only_consumer(before) is None or node.shape[-1] >= before.shape[-1]:
            continue
        source = graph.producer(before)
        moved = node.but(inputs=before.inputs, shape=(*source.shape[:2], node.shape[-1]))
        resized = before.but(inputs=(node.name,), shape=node.shape)
        graph.drop(before)
        graph.replace(graph.nodes[node.name], moved, resized)
    return graph


def lone_affine_to_depthwise(graph: Graph) -> Graph:
    """A batch normalisation that no convolution can take becomes a 1x1 depthwise convolution."""
    graph = graph.copy()
    for node in graph:
        if node.op == "affine" and len(node.shape) == 3:
            kernel = node["scale"].reshape(1, 1, -1, 1)
            graph.replace(node, _depthwise(node.name, node.inputs[0], node.shape, kernel, node["offset"]))
    return graph


def relu_before_concat(graph: Graph) -> Graph:
    """A ReLU after a concatenation of convolutions becomes part of each: XNNPACK has none that stands alone."""
    graph = graph.copy()
    for node in graph:
        concat = graph.producer(node) if node.op == "activation" and node["function"] == "relu" else None
        if concat is None or concat.op != "concat" or graph.only_consumer(concat) is None:
            continue
        parts = [graph.nodes[name] for name in concat.inputs]
        if all(p.op in LINEAR and p["activation"] in (None, "relu") and graph.only_consumer(p) for p in parts):
            for part in parts:
                graph.replace(part, part.but(activation="relu"))
            graph.drop(node)
    return graph


def flip_steep_prelu(graph: Graph) -> Graph:
    """A slope above 1 becomes its inverse: the convolution before gives -slope x, the one after takes the negative.

    slope x below zero and x above it is -f(-slope x), where f has the slope 1 / slope; so no such channel needs the
    extra operations that `prelu_to_relu` has for it.
    """
    graph = graph.copy()
    for node in graph:
        if node.op != "prelu" or not (node["slope"] > 1).any() or node.name == graph.output:
            continue
        before = graph.producer(node)
        sources = [graph.nodes[name] for name in before.inputs] if before.op == "concat" else [before]
        alone = all(
            graph.only_consumer(each) for each in {before.name: before, **{s.name: s for s in sources}}.values()
        )
        absorbing = [*sources, *graph.consumers(node)]
        if not alone or not all(each.op in LINEAR and each["activation"] is None for each in absorbing):
            continue
        steep = node["slope"] > 1
        factor, start = np.where(steep, -node["slope"], 1.0), 0
        for source in sources:
            share = factor[start : start + source.shape[-1]]
            start += source.shape[-1]
            graph.replace(source, source.but(kernel=scaled_kernel(source, share), bias=source["bias"] * share))
        for consumer in graph.consumers(node):
            signs = per_input(consumer, np.where(steep, -1.0, 1.0))
            graph.replace(consumer, consumer.but(kernel=consumer["kernel"] * signs))
        graph.replace(node, node.but(slope=np.where(steep, 1 / node["slope"], node["slope"])))
    return graph


def prelu_to_relu(graph: Graph) -> Graph:
    """PReLU becomes x + relu((slope - 1) x), the second term one depthwise convolution with its ReLU built in.

    PRELU is no int8 operation of XNNPACK: with it a network takes three times as long. The form is exact for every
    slope up to 1, negative ones as well; channels with a slope above 1 get relu((1 - slope) x) subtracted. Against
    max(x, slope x) it keeps the graph in one partition and loses less accuracy, for 4 % of the time.
    """
    graph = graph.copy()
    for node in graph:
        if node.op != "prelu":
            continue
        x = graph.producer(node)
        slope = node["slope"]
        new, sum_name = [], node.name
        for suffix, op, factor in (
            ("bend", "add", np.minimum(slope - 1, 0)),
            ("steepen", "subtract", np.minimum(1 - slope, 0)),
        ):
            if not factor.any():
                continue
            kernel = factor.reshape(1, 1, -1, 1)
            bend = _depthwise(graph.unique(f"{node.name}_{suffix}"), x.name, x.shape, kernel, activation="relu")
            last = new[-1].name if new else x.name
            new += [bend, Node(graph.unique(f"{node.name}_{op}"), op, (last, bend.name), node.shape)]
        if not new:
            graph.drop(node)
        else:
            graph.replace(node, *new[:-1], new[-1].but(name=sum_name))
    return graph


def hard_silu_to_product(graph: Graph) -> Graph:
    """x relu6(x + 3) / 6 becomes the product of two depthwise convolutions, one with its ReLU6 built in.

    HARD_SWISH is no int8 operation of XNNPACK: with it MobileNetV3 is in 19 pieces and takes twice as long.
    """
    graph = graph.copy()
    for node in graph:
        if node.op == "activation" and node["function"] == "hard_silu" and len(node.shape) == 3:
            source, channels = node.inputs[0], node.shape[-1]
            one = np.ones((1, 1, channels, 1))
            gate_name, sixth_name = (graph.unique(f"{node.name}_{suffix}") for suffix in ("gate", "sixth"))
            gate = _depthwise(gate_name, source, node.shape, one, np.full(channels, 3.0), activation="relu6")
            sixth = _depthwise(sixth_name, source, node.shape, one / 6)
            product = Node(node.name, "multiply", (gate.name, sixth.name), node.shape)
            graph.replace(node, gate, sixth, product)
    return graph


def is_pointwise(node: Node) -> bool:
    """A 1x1 convolution of all channels that keeps the size: neither strides nor padding."""
    plain = node.op == "conv" and node["kernel"].shape[:2] == (1, 1)
    return plain and node["strides"] == (1, 1) and node["padding"] == NO_PADDING and node["groups"] == 1


def scaled_kernel(node: Node, factor: np.ndarray) -> np.ndarray:
    """The kernel of a convolution whose output is multiplied by `factor` per channel."""
    return node["kernel"] * (factor.reshape(node["kernel"].shape[2:]) if node.op == "depthwise" else factor)


def _depthwise(name, source, shape, kernel, bias=None, *, strides=(1, 1), activation=None) -> Node:
    bias = np.zeros(kernel.shape[2]) if bias is None else bias
    attributes = {"strides": strides, "padding": NO_PADDING, "dilation": (1, 1), "activation": activation}
    return Node(name, "depthwise", (source,), shape, attributes, {"kernel": kernel, "bias": bias})


def per_input(node: Node, factors: np.ndarray) -> np.ndarray:
    """Factors of a convolution's input channels, shaped to multiply its kernel; each group sees its own share."""
    if node.op == "depthwise":
        return factors[:, None]
    inputs, outputs = node["kernel"].shape[2:]
    groups = len(factors) // inputs
    return np.repeat(factors.reshape(groups, inputs).T, outputs // groups, axis=1)
