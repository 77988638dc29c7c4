"""The two operations of an int8 `.tflite` that turn uint8 into int8 and back, in a form that XNNPACK takes.

TensorFlow's converter writes each as a QUANTIZE from integers to integers, which XNNPACK leaves to the interpreter: of
a network made for int8 they are a tenth of the time. It takes a DEQUANTIZE to float and a QUANTIZE of that. The scales
are the same, so every byte stays what it was.
"""

from __future__ import annotations

import copy

from ai_edge_litert import schema_py_generated as schema

from tflite.quantize import compact

BYTES = {schema.TensorType.UINT8, schema.TensorType.INT8}


def for_xnnpack(content: bytes) -> bytes:
    """The same function in operations that XNNPACK takes; `content` itself where no end is in the way."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    codes = [code.builtinCode for code in model.operatorCodes]
    (graph,) = model.subgraphs
    operators = []
    for operator in graph.operators:
        ends = {graph.tensors[index].type for index in (operator.inputs[0], operator.outputs[0])}
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.QUANTIZE and ends == BYTES:
            operators.append(_dequantize(graph, operator.inputs, len(codes)))
            operator.inputs = operators[-1].outputs
        operators.append(operator)
    if len(operators) == len(graph.operators):
        return content
    graph.operators = operators
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 2  # the one that reads int8
    model.operatorCodes.append(code)
    return compact.write(model)


def _dequantize(graph: schema.SubGraphT, inputs: list[int], code: int) -> schema.OperatorT:
    """A DEQUANTIZE of the tensor `inputs` into a new one of `graph`; `code`: its place among the operator codes."""
    made = copy.copy(graph.tensors[inputs[0]])
    made.name, made.type, made.quantization = made.name + b"_float", schema.TensorType.FLOAT32, None
    graph.tensors.append(made)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [len(graph.tensors) - 1]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.DequantizeOptions,
        schema.DequantizeOptionsT(),
    )
    return operator
