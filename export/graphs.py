"""Writing a network as an ONNX graph that every served ONNX Runtime reads."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.export import Dim

from export.errors import IncompatibleGraph
from export.networks.decoder import Decoder
from export.networks.encoder import Encoder
from export.networks.sam import GRID, IMAGE_SIZE, WIDTH
from export.rewriting import cut_padding, transpose_weights

# Triton 24.10 carries ONNX Runtime 1.19, which reads opset 21 and IR 10.
OPSET = 20
MAX_IR_VERSION = 10
# A protocol buffer ends at 2 GiB; weights beyond this many bytes go into a file beside the graph.
EXTERNAL_DATA_ABOVE = 2_000_000_000
_SMALL = 1024  # weights with fewer elements are not worth a Cast


@dataclass(frozen=True)
class InputSpec:
    """An input of a graph: its name, an example, and which axes are dynamic by what name."""

    name: str
    example: Tensor
    axes: Mapping[int, str]


def encoder_graph(sam: Sam, identity: str, metadata: Mapping[str, str]) -> ir.Model:
    """Return `sam_encoder`; see `Encoder.forward` for its interface."""
    inputs = [
        InputSpec("image", torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8), {0: "batch"}),
        InputSpec("image_size", torch.full((2, 2), IMAGE_SIZE, dtype=torch.int32), {0: "batch"}),
    ]
    return _trace(Encoder(sam, identity), inputs, ["image_embeddings", "identity"], metadata)


def decoder_graph(sam: Sam, identity: str, metadata: Mapping[str, str], *, branching: bool = True) -> ir.Model:
    """Return `sam_decoder`; see `Decoder` for its interface and for what branching means."""
    inputs = [
        InputSpec("image_embeddings", torch.zeros(2, WIDTH, GRID, GRID), {0: "batch"}),
        InputSpec("point_coords", torch.zeros(2, 4, 2), {0: "batch", 1: "points"}),
        InputSpec("point_labels", torch.zeros(2, 4, dtype=torch.int32), {0: "batch", 1: "points"}),
        InputSpec("mask_input", torch.zeros(2, 1, 4 * GRID, 4 * GRID), {0: "batch"}),
        InputSpec("has_mask_input", torch.zeros(2, 1), {0: "batch"}),
    ]
    decoder = Decoder(sam, identity, branching=branching)
    model = _trace(decoder, inputs, ["low_res_masks", "iou_predictions", "identity"], metadata)
    if branching:
        transpose_weights(model)
        cut_padding(model)
        RemoveUnusedNodesPass()(model)  # and what they took
    return model


def save(model: ir.Model, path: Path) -> None:
    """Write a graph, with large weights in a file beside it.

    Raises:
        IncompatibleGraph: if the graph is not one that every served ONNX Runtime reads.
    """
    refuse_incompatible(model)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    external = f"{path.name}.data" if weights > EXTERNAL_DATA_ABOVE else None
    ir.save(model, path, external_data=external)
    onnx.checker.check_model(path, full_check=True)


def _trace(network: nn.Module, inputs: list[InputSpec], outputs: list[str], metadata: Mapping[str, str]) -> ir.Model:
    dimensions = {name: Dim(name) for port in inputs for name in port.axes.values()}
    with warnings.catch_warnings():
        # That inputs share a batch axis is intended.
        warnings.filterwarnings("ignore", message="# The axis name: .* will not be used")
        program = torch.onnx.export(
            network.eval(),
            tuple(port.example for port in inputs),
            input_names=[port.name for port in inputs],
            output_names=outputs,
            dynamic_shapes=tuple({axis: dimensions[name] for axis, name in port.axes.items()} for port in inputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    model = cast(torch.onnx.ONNXProgram, program).model  # None only when it writes a file itself
    ClearMetadataAndDocStringPass()(model)  # among it the paths of source files
    model.metadata_props.update(metadata)
    model.producer_name, model.producer_version = "imgr", metadata.get("imgr_version", "")
    return model


def store_exact_halves(model: ir.Model) -> None:
    """Store float32 weights as float16 where that loses nothing, as in checkpoints published in half precision.

    A Cast restores them, which ONNX Runtime does once, when it loads the graph: such files are half as large and
    compute the same.
    """
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        if value.dtype != ir.DataType.FLOAT or value.const_value is None or value.const_value.size < _SMALL:
            continue
        weights = value.const_value.numpy()
        with np.errstate(over="ignore"):
            halves = weights.astype(np.float16)
        if not np.array_equal(halves.astype(np.float32), weights):
            continue
        stored = ir.Value(name=f"{name}.half", const_value=ir.tensor(halves, name=f"{name}.half"))
        stored.type, stored.shape = ir.TensorType(ir.DataType.FLOAT16), value.shape
        cast = ir.node("Cast", [stored], attributes={"to": ir.DataType.FLOAT})
        restored = cast.outputs[0]
        restored.type, restored.shape = value.type, value.shape
        value.replace_all_uses_with(restored)
        del graph.initializers[name]
        restored.name = name
        graph.register_initializer(stored)
        graph.insert_before(graph[0], cast)


def refuse_incompatible(model: ir.Model) -> None:
    """Check that a graph has standard operators only, at an opset and IR version that are read everywhere.

    Raises:
        IncompatibleGraph: naming what is in the way.
    """
    if model.ir_version > MAX_IR_VERSION:
        raise IncompatibleGraph(f"The graph has ONNX IR version {model.ir_version}; at most {MAX_IR_VERSION} is read.")
    if model.graph.opset_imports.get("", 0) > OPSET:
        opset = model.graph.opset_imports[""]
        raise IncompatibleGraph(f"The graph uses opset {opset}; at most {OPSET} is read everywhere.")
    foreign = {
        f"{node.domain}.{node.op_type}" for node in model.graph.all_nodes() if node.domain not in ("", "ai.onnx")
    }
    if foreign or model.functions:
        names = ", ".join(sorted(foreign | {str(identifier) for identifier in model.functions}))
        raise IncompatibleGraph(f"The graph uses operators outside the ONNX standard: {names}.")
