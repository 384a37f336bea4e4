"""Graphs whose linear layers multiply 8-bit integers, for CPUs that have instructions for it (VNNI)."""

import logging
from pathlib import Path

import onnx_ir as ir
from onnxruntime.quantization import QuantType, quantize_dynamic

from export.graphs import save


def quantize(source: Path, target: Path) -> None:
    """Write a float32 graph with the weights of its linear layers in int8, a scale for each output channel.

    What they are multiplied with is rounded to uint8 as it comes, with one scale for the whole tensor. Attention,
    convolutions and normalisation stay as they are. The operators are standard ones (DynamicQuantizeLinear,
    MatMulInteger); ONNX Runtime fuses them.
    """
    linear = [
        str(node.name)
        for node in ir.load(source).graph
        if node.op_type in ("MatMul", "Gemm") and _is_matrix_of_weights(node.inputs[1])
    ]
    unchecked = target.with_suffix(".quantized")
    advice = logging.getLogger()
    level = advice.level
    advice.setLevel(logging.ERROR)  # it recommends a preprocessing that would bring operators beyond the standard
    try:
        quantize_dynamic(source, unchecked, per_channel=True, weight_type=QuantType.QInt8, nodes_to_quantize=linear)
    finally:
        advice.setLevel(level)
    save(ir.load(unchecked), target)
    unchecked.unlink()


def _is_matrix_of_weights(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and len(value.const_value.shape) == 2
