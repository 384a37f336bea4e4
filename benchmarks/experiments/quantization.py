"""Compares ways to quantize the quickstart model's encoder to int8: how far masks agree with those of fp32.

    uv run --extra export --group test python -m benchmarks.experiments.quantization [--pictures FOLDER] [--count N]

Real SAMs may have channels that tower above the others, which this small model has not. It is therefore measured
a second time with four channels after each normalisation multiplied by 30 and what reads them divided by it: the same
function, harder to round.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import onnx_ir as ir
import torch
import typer
from onnxruntime.quantization import QuantType, quantize_dynamic
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from segment_anything.modeling import Sam

from export.checkpoint import load
from export.comparison import Pair, compare
from export.examples import Frame, frames
from export.graphs import decoder_graph, encoder_graph, save
from export.networks.efficientnet import Attention, Mixer
from export.precision.quantization import quantize
from export.precision.smoothing import smoothed

CHECKPOINT = Path(__file__).parents[2] / "models" / "quickstart" / "quickstart.pth"


def with_towers(sam: Sam, channels: int = 4, factor: float = 30) -> Sam:
    """Return a network that computes what `sam` does by way of a few large channels."""
    sam = copy.deepcopy(sam)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in sam.image_encoder.modules():
            if isinstance(block, Attention | Mixer):
                linear = block.qkv if isinstance(block, Attention) else block.fc1
                chosen = torch.randperm(linear.in_features, generator=generator)[:channels]
                block.norm.weight[chosen] *= factor
                block.norm.bias[chosen] *= factor
                linear.weight[:, chosen] /= factor
    return sam


def candidates(sam: Sam, examples: list[Frame], folder: Path) -> Iterator[tuple[str, Path]]:
    """Write the encoder in int8 in several ways: what is done, and the file."""
    full = folder / "full.onnx"
    save(encoder_graph(sam, "", {}), full)
    quantize(full, folder / "channels.onnx")
    linear = [
        str(node.name).removesuffix("_quant")
        for node in ir.load(folder / "channels.onnx").graph
        if node.op_type == "MatMulInteger"
    ]
    tensor = folder / "tensor.onnx"
    quantize_dynamic(full, tensor, per_channel=False, weight_type=QuantType.QInt8, nodes_to_quantize=linear)
    yield "one scale for each matrix", tensor
    yield "one for each output channel", folder / "channels.onnx"
    save(encoder_graph(smoothed(sam, examples), "", {}), folder / "smooth.onnx")
    quantize(folder / "smooth.onnx", folder / "smooth_channels.onnx")
    yield "and smoothed", folder / "smooth_channels.onnx"


def main(
    pictures: Annotated[Path | None, typer.Option(help="folder of photos; else drawn pictures")] = None,
    count: Annotated[int, typer.Option(help="how many pictures, at most")] = 8,
) -> None:
    """Measure and print the table."""
    torch.set_num_threads(2)
    sam, examples = load(CHECKPOINT).sam, frames(pictures)[:count]
    numbers = (Column(head, justify="right") for head in ("embedding error", "mean IoU", "95 % are above"))
    table = Table("model", "int8 weights", *numbers)
    with TemporaryDirectory() as name:
        folder = Path(name)
        reference = Pair(folder / "encoder.onnx", folder / "decoder.onnx")
        save(encoder_graph(sam, "", {}), reference.encoder)
        save(decoder_graph(sam, "", {}), reference.decoder)
        for kind, network in (("as it is", sam), ("with towering channels", with_towers(sam))):
            for way, encoder in track(list(candidates(network, examples, folder)), kind):
                found = compare(reference, Pair(encoder, reference.decoder), examples)
                table.add_row(
                    kind,
                    way,
                    f"{found.embedding_error:.4f}",
                    f"{found.overall.mean_iou:.4f}",
                    f"{found.overall.low_iou:.4f}",
                )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
