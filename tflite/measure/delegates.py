"""What accelerators take of a graph, as rules: type of operation, type of its values, shape.

The rules say what the delegates' own lists of operations say; no accelerator was asked, and a driver may differ. Only
XNNPACK is measured (`contents.delegation`); its rules here give the reason for what the measurement shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

INT8 = {"int8", "uint8"}
FLOAT = {"float32", "float16"}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


XNNPACK_INT8 = _names(
    """ADD BATCH_MATMUL CONCATENATION CONV_2D DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE ELU EXPAND_DIMS
FULLY_CONNECTED LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN MUL PAD QUANTIZE RESHAPE RESIZE_BILINEAR SLICE SPACE_TO_DEPTH
SPLIT STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV"""
)
XNNPACK_FLOAT = (
    _names(
        """ABS AVERAGE_POOL_2D BROADCAST_TO CEIL COS DIV EXP FLOOR GELU HARD_SWISH LOG MAXIMUM MINIMUM NEG PRELU RELU
    RELU6 RELU_N1_TO_1 ROUND RSQRT SIN SOFTMAX SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE"""
    )
    | XNNPACK_INT8
)
GPU = _names(
    """ABS ADD AVERAGE_POOL_2D CONCATENATION CONV_2D COS DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EXP FLOOR
    FULLY_CONNECTED HARD_SWISH LEAKY_RELU LOG LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL NEG PAD POW PRELU QUANTIZE
    RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
    SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV"""
)
NPU = _names(
    """ABS ADD AVERAGE_POOL_2D BATCH_TO_SPACE_ND CONCATENATION CONV_2D DEPTH_TO_SPACE DEPTHWISE_CONV_2D EXPAND_DIMS
    FULLY_CONNECTED HARD_SWISH LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL PAD PRELU QUANTIZE RELU RELU6 RELU_N1_TO_1
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SQUEEZE
    STRIDED_SLICE SUB TANH TRANSPOSE TRANSPOSE_CONV"""
)
EDGE_TPU = _names(
    """ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC
    MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE
    STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV"""
)


def refused_by_xnnpack(operation: dict) -> str | None:
    """Why XNNPACK leaves an operation to the interpreter, or None where no rule says so.

    `operation` here and below: name, types (of the values read and written, without constants), weight_types, shapes
    (of the same values) and attributes, as `inspect` makes them.
    """
    name, types = operation["name"], set(operation["types"])
    if name not in XNNPACK_FLOAT:
        return "XNNPACK has no such operation"
    if not types <= INT8 | FLOAT:
        return f"XNNPACK computes in float and 8-bit integers, not {_named(types - INT8 - FLOAT)}"
    if types & INT8 and name not in XNNPACK_INT8:
        return "XNNPACK has it in float only"
    if types >= INT8:
        return "XNNPACK does not turn uint8 into int8 or back"
    if name == "DEPTHWISE_CONV_2D" and types & FLOAT and set(operation["weight_types"]) & INT8:
        return "XNNPACK has no depthwise convolution of float values with 8-bit weights"
    if operation["attributes"].get("activation") in ("TANH", "SIGN_BIT"):
        return "XNNPACK does not fuse this activation"
    if name == "CONCATENATION" and len(operation["types"]) - 1 + len(operation["weight_types"]) > 5:
        return "XNNPACK joins five at most"
    if _skips(operation):
        return "XNNPACK takes slices without gaps only"
    return None


def refused_by_gpu(operation: dict) -> str | None:
    """Why the GPU delegate (OpenCL, OpenGL, Metal) would leave an operation; int8 it computes in float16."""
    name, types = operation["name"], set(operation["types"])
    if reason := _general(operation):
        return reason
    if name not in GPU:
        return "not among the GPU delegate's operations"
    if not types <= INT8 | FLOAT:
        return f"the GPU takes float and 8-bit values, not {_named(types - INT8 - FLOAT)}"
    if any(len(shape) > 4 for shape in operation["shapes"]):
        return "the GPU takes 4 dimensions at most"
    if len({shape[0] for shape in operation["shapes"] if len(shape) == 4}) > 1:
        return "the GPU keeps the batch dimension as it is"
    return None


def refused_by_npu(operation: dict) -> str | None:
    """Why an int8-only accelerator (as NNAPI drivers, DSPs and microNPUs are) would leave an operation."""
    name, types = operation["name"], set(operation["types"])
    if reason := _general(operation):
        return reason
    if not types <= INT8:
        return f"computes in 8-bit integers only, not {_named(types - INT8)}"
    if name not in NPU:
        return "not among the operations that int8 accelerators share"
    if any(len(shape) > 4 for shape in operation["shapes"]):
        return "int8 accelerators take 4 dimensions at most"
    if operation["attributes"].get("align_corners") and operation["attributes"].get("half_pixel_centers"):
        return "corners aligned and half pixels exclude each other"
    return None


def refused_by_edge_tpu(operation: dict) -> str | None:
    """Why the Edge TPU's compiler would leave an operation; whatever comes after the first one stays on the CPU too."""
    name, types, attributes = operation["name"], set(operation["types"]), operation["attributes"]
    if reason := _general(operation):
        return reason
    if not types <= INT8:
        return f"computes in 8-bit integers only, not {_named(types - INT8)}"
    if name not in EDGE_TPU:
        return "not among the Edge TPU's operations"
    if any(side > 1 for shape in operation["shapes"] for side in shape[:-3]):
        return "only the three innermost dimensions may be larger than 1"
    dilation = attributes.get("dilation", [1, 1])
    if name == "DEPTHWISE_CONV_2D" and dilation != [1, 1]:
        return "no dilated depthwise convolution"
    if name == "CONV_2D" and dilation[0] != dilation[1]:
        return "the dilation must be the same in both directions"
    if name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION") and "activation" in attributes:
        return "no fused activation here"
    if _skips(operation):
        return "only slices without gaps"
    if name == "SOFTMAX" and (_size(operation["shapes"][0]) > 16_000 or _size(operation["shapes"][0][:-1]) > 1):
        return "softmax only along one dimension of at most 16000 values"
    return None


RULES: dict[str, Callable[[dict], str | None]] = {
    "GPU delegate": refused_by_gpu,
    "int8 accelerator (NPU)": refused_by_npu,
    "Edge TPU": refused_by_edge_tpu,
}


def partitions(operations: Iterable[dict], taken: set[int]) -> int:
    """The pieces in which a delegate gets the operations `taken`, by LiteRT's way of splitting a graph.

    It runs all operations of one kind (taken or not) that are ready, then those of the other, until none is left.
    """
    waiting, ready, pieces = list(operations), {-1}, 0  # the model's input is there from the start
    while waiting:
        kind = next(op["index"] in taken for op in waiting if ready.issuperset(op["sources"]))
        pieces += kind
        left = []
        for op in waiting:
            if (op["index"] in taken) == kind and ready.issuperset(op["sources"]):
                ready.add(op["index"])
            else:
                left.append(op)
        waiting = left
    return pieces


def _general(operation: dict) -> str | None:
    if operation["name"].startswith("Flex"):
        return "an operation of TensorFlow itself, which needs TensorFlow's library"
    if any(side < 1 for shape in operation["shapes"] for side in shape):
        return "a shape that is not known before the run"
    return None


def _skips(operation: dict) -> bool:
    return operation["name"] == "STRIDED_SLICE" and any(step != 1 for step in operation["attributes"].get("stride", ()))


def _named(types: Iterable[str]) -> str:
    return ", ".join(sorted(types))


def _size(shape: Iterable[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
