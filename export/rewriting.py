"""What PyTorch's export cannot say, or says badly, put right in the graph."""

from typing import cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from export.networks.decoder import PADDING


def transpose_weights(model: ir.Model) -> None:
    """Store weights as the branches of an `If` multiply with them.

    ONNX Runtime transposes them once, when it loads the graph, but not those that a branch takes from outside.
    """
    done: dict[tuple[str, tuple[int, ...]], ir.Value] = {}
    initializers = model.graph.initializers
    for node in list(model.graph.all_nodes()):
        weight = node.inputs[0] if node.op_type == "Transpose" else None
        if weight is None or weight.const_value is None or not weight.is_initializer():
            continue
        name, order = str(weight.name), tuple(node.attributes["perm"].as_ints())
        if (name, order) not in done:
            values = weight.const_value.numpy().transpose(order)
            done[name, order] = _weights(model, f"{name}.transposed", values)
        node.outputs[0].replace_all_uses_with(done[name, order])
        cast(ir.Graph, node.graph).remove(node, safe=True)
        if not weight.uses():
            del initializers[name]


def cut_padding(model: ir.Model) -> None:
    """Let a decoder's graph begin by cutting off the points that are padding in every row of the batch.

    Whatever it computes from its points then has only as many, one at least, wherever padding lies. In PyTorch the
    length would be a number that its export of `If` cannot handle.
    """
    coords, labels = (
        next(value for value in model.graph.inputs if value.name == name) for name in ("point_coords", "point_labels")
    )
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = _of_used_points(output.shape)
    zero, one = (_weights(model, f"padding.{number}", np.array([number])) for number in (0, 1))
    tape = Tape()
    is_padding = tape.op("Equal", [labels, _weights(model, "padding.label", np.array([PADDING], np.int32))])
    # The place of every point, counted from one; the last that is not padding says how many are needed.
    places = tape.op("CumSum", [tape.op("Where", [is_padding, one, one]), one])
    length = tape.op("ReduceMax", [tape.op("Where", [is_padding, one, places])], {"keepdims": 0})
    end = tape.op("Unsqueeze", [length, zero])
    for points in (coords, labels):
        readers = points.uses()
        used = tape.op("Slice", [points, zero, end, one])
        used.type, used.shape = points.type, _of_used_points(points.shape)
        for node, index in readers:
            if node.graph is not None:  # not those of the tape
                node.replace_input_with(index, used)
    for number, node in enumerate(tape.nodes):
        for output in node.outputs:
            output.name = f"padding.{node.op_type.lower()}.{number}"
    model.graph.insert_before(model.graph[0], tape.nodes)


def _of_used_points(shape: ir.Shape | None) -> ir.Shape | None:
    """Name the number of points differently: ONNX Runtime takes axes of one name to be equally long."""
    return shape and ir.Shape(
        size if isinstance(size, int) or size.value is None else size.value.replace("points", "used_points")
        for size in shape
    )


def _weights(model: ir.Model, name: str, values: NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(values, name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(values.shape))
    model.graph.register_initializer(value)
    return value
