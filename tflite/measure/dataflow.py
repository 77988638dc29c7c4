"""What flows through a `.tflite`: which tensors are values and which weights, what is in memory when, float islands.

`nodes` and `tensors` are what an interpreter without delegates says of a file: `_get_ops_details()`, and
`get_tensor_details()` by index.
"""

from __future__ import annotations

import math

import numpy as np

WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def flowing(nodes: list[dict], starts: set[int]) -> set[int]:
    """The tensors that depend on the model's input. All others are constants, like weights that a node dequantizes."""
    found = set(starts)
    for node in nodes:
        if found.intersection(map(int, node["inputs"])):
            found.update(map(int, node["outputs"]))
    return found


def weights(node: dict, tensors: dict, flowing: set[int]) -> list[int]:
    """The weights that a node computes with: its constants without shapes and axes, which are int32 as a bias is."""
    if not flowing.intersection(map(int, node["outputs"])):
        return []
    constants = [int(i) for i in node["inputs"] if int(i) in tensors and int(i) not in flowing]
    name = node["op_name"]
    return [i for i in constants if tensors[i]["dtype"] not in (np.int32, np.int64) or _is_bias(name, tensors[i])]


def _is_bias(name: str, tensor: dict) -> bool:
    return name in WITH_BIAS and len(tensor["quantization_parameters"]["scales"]) > 0


def macs(name: str, reads: list[dict], writes: list[dict]) -> int:
    """Multiply-accumulates of one operation, from what it reads and writes; 0 where nothing is summed up."""
    if name == "CONV_2D" or name == "FULLY_CONNECTED":
        return elements(writes[0]) * math.prod(int(side) for side in reads[1]["shape"][1:])
    if name == "DEPTHWISE_CONV_2D":
        return elements(writes[0]) * math.prod(int(side) for side in reads[1]["shape"][1:3])
    if name == "TRANSPOSE_CONV":  # reads the output's shape, the kernel (classes, height, width, channels), the values
        return elements(reads[2]) * math.prod(int(side) for side in reads[1]["shape"][:3])
    if name == "BATCH_MATMUL":
        return elements(writes[0]) * int(reads[0]["shape"][-1])
    return 0


def live_bytes(nodes: list[dict], tensors: dict, starts: set[int], ends: set[int], flowing: set[int]) -> dict[int, int]:
    """Bytes of the values in memory while each node runs: made, and still to be read or an output of the model.

    Every value takes its own place here; an interpreter saves a little where it reuses an input's place for the output.
    """
    first, last = dict.fromkeys(starts, -1), dict.fromkeys(starts, -1)
    for position, node in enumerate(nodes):
        for index in flowing.intersection(map(int, node["outputs"])):
            first[index] = last[index] = position
        for index in map(int, node["inputs"]):
            if index in first:
                last[index] = position
    last |= {index: len(nodes) for index in ends}
    return {
        int(node["index"]): sum(
            nbytes(tensors[index]) for index, made in first.items() if made <= position <= last[index]
        )
        for position, node in enumerate(nodes)
    }


def float_islands(operations: list) -> list[dict]:
    """The connected groups of float operations between quantized ones: their indices, where they begin and end."""
    if all(operation.float_output for operation in operations if operation.name != "QUANTIZE"):
        return []
    groups: list[set[int]] = []
    for operation in operations:
        if operation.float_output:
            joined = [group for group in groups if group.intersection(operation.sources)]
            groups = [group for group in groups if group not in joined]
            groups.append({operation.index}.union(*joined))
    named = {operation.index: f"{operation.name} {operation.layer}" for operation in operations}
    return [
        {"begins": named[min(group)], "ends": named[max(group)], "operations": sorted(group)}
        for group in sorted(groups, key=min)
    ]


def shape(tensor: dict) -> tuple[int, ...]:
    """The sides, -1 for one that is not known before the run."""
    sides = tensor.get("shape_signature", ())
    return tuple(int(side) for side in (sides if len(sides) == len(tensor["shape"]) else tensor["shape"]))


def elements(tensor: dict) -> int:
    """How many values it holds; a side that is not known counts 1."""
    return math.prod(int(side) for side in tensor["shape"])


def nbytes(tensor: dict) -> int:
    """What they take in memory."""
    return elements(tensor) * np.dtype(tensor["dtype"]).itemsize
