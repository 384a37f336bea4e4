"""Graphs that compute in half precision, for GPUs."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from export.graphs import save

_FULL, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def halve(source: Path, target: Path) -> None:
    """Write a float32 graph so that it computes in float16; its inputs and outputs stay as they are.

    Full precision is kept for layer normalisation, whose sums of squares overflow in ViT-H, for what prepares the
    image, and for the sines of coordinates, which half precision would round to half a pixel.
    """
    model = ir.load(source)
    _halve(model.graph)
    RemoveUnusedNodesPass()(model)  # among them the weights in full precision
    save(model, target)


def _halve(graph: ir.Graph) -> None:
    full = _kept_full(graph)
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in list(graph):
        wanted = _FULL if node in full else _HALF
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (_FULL, _HALF) and value.dtype != wanted:
                if (value, wanted) not in casts:
                    casts[value, wanted] = _cast(graph, value, wanted, node)
                node.replace_input_with(index, casts[value, wanted])
        if node in full:
            continue
        if node.op_type == "Cast" and node.attributes["to"].as_int() == _FULL:
            node.attributes["to"] = ir.AttrInt64("to", _HALF)
        for output in node.outputs:
            if output.dtype == _FULL:
                output.dtype = _HALF
    for index, output in enumerate(graph.outputs):
        if output.dtype == _HALF:
            name, output.name = output.name, f"{output.name}.half"
            restored = ir.node("Cast", [output], attributes={"to": _FULL})
            restored.outputs[0].name, restored.outputs[0].shape = name, output.shape
            restored.outputs[0].type = ir.TensorType(_FULL)
            graph.append(restored)
            graph.outputs[index] = restored.outputs[0]


def _kept_full(graph: ir.Graph) -> set[ir.Node]:
    """Return the nodes that keep float32."""
    full = {node for node in graph if node.op_type == "LayerNormalization"}
    # The first convolution makes patches of the prepared image.
    patches = next((node for node in graph if node.op_type == "Conv"), None)
    pending = [node for node in graph if node.op_type in ("Sin", "Cos")]
    pending += patches.predecessors() if patches else []
    while pending:
        node = pending.pop()
        if node not in full:
            full.add(node)
            pending += node.predecessors()
    return full


def _cast(graph: ir.Graph, value: ir.Value, wanted: ir.DataType, before: ir.Node) -> ir.Value:
    """Return the value in another precision: weights are converted here, anything else in the graph."""
    if value.const_value is not None and wanted == _HALF:
        with np.errstate(over="ignore"):  # the comparison of masks would tell
            weights = value.const_value.numpy().astype(np.float16)
        half = ir.Value(name=f"{value.name}.half", const_value=ir.tensor(weights, name=f"{value.name}.half"))
        half.type, half.shape = ir.TensorType(_HALF), value.shape
        graph.register_initializer(half)
        return half
    node = ir.node("Cast", [value], attributes={"to": wanted})
    result = node.outputs[0]
    result.type, result.shape = ir.TensorType(wanted), value.shape
    graph.insert_before(before, node)
    return result
