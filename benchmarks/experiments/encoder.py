"""Compares ways to arrange ViT-B's encoder for ONNX Runtime on a CPU, in fp32 and int8, with this machine's peak.

    uv run --extra export --group test python -m benchmarks.experiments.encoder [--graphs FOLDER] [--rounds N]

The weights are random and seeded: time does not depend on them. All graphs take turns; the table shows medians, and
the rate counts the multiplications that the arrangement itself makes. Processor time tells more than time where others
use the machine. The error is the embedding's, relative to the first graph's.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, cast

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from segment_anything.modeling.image_encoder import window_partition, window_unpartition
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from export.graphs import encoder_graph, save
from export.networks.encoder import Encoder
from export.networks.sam import GRID, VIT_B
from export.networks.vit import FoldedAttention, FoldedBlock, FoldedViT
from export.precision.quantization import quantize
from export.verification import relative_error
from models.seeded import random_sam

_THREADS = 2
_GRAPHS = Path(gettempdir()) / "imgr-encoders"
_SHAPE = (GRID * GRID, 768, 3072)  # of a layer of ViT-B's MLP


@dataclass(frozen=True)
class Arrangement:
    """Where windows are padded, and whether global attention too has its relative positions in queries and keys."""

    name: str
    pad_late: bool = False
    folded: bool = False


ARRANGEMENTS = (
    Arrangement("folded everywhere", folded=True),
    Arrangement("bias in global blocks"),
    Arrangement("and padded after qkv", pad_late=True),
)


class HeadByHead(FoldedAttention):
    """Global attention with the relative positions in queries and keys, as windows have them."""

    def __init__(self, attention: FoldedAttention, span: int) -> None:
        attention.num_heads = attention.heads
        super().__init__(attention, span)

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        q = torch.cat([q, rows, columns], dim=-1)
        k = torch.cat([k, self.one_hot.expand(k.shape[0], self.heads, -1, -1)], dim=-1)
        heads = zip(*(part.split(1, dim=1) for part in (q, k, v)), strict=True)
        return torch.cat([(q @ k.transpose(-2, -1)).softmax(-1) @ v for q, k, v in heads], dim=1)


class ArrangedBlock(nn.Module):
    """A block of the encoder in some arrangement."""

    def __init__(self, block: FoldedBlock, arrangement: Arrangement) -> None:
        super().__init__()
        self.block, self.arrangement = block, arrangement
        if arrangement.folded and not block.window:
            block.attn = HeadByHead(block.attn, GRID)

    def forward(self, x: Tensor) -> Tensor:
        """[B,64,64,C] → [B,64,64,C]."""
        block = self.block
        y = block.norm1(x)
        if not block.window:
            y = block.attn(y)
        elif self.arrangement.pad_late:
            y = self._attend_in_windows(y)
        else:
            windows, padded = window_partition(y, block.window)
            y = window_unpartition(block.attn(windows), block.window, padded, (GRID, GRID))
        x = x + y
        return cast(Tensor, x + block.mlp(block.norm2(x)))

    def _attend_in_windows(self, x: Tensor) -> Tensor:
        """Zeros would become the bias: they are added after the layer's product, before its bias."""
        attention = self.block.attn
        windows, padded = window_partition(functional.linear(x, attention.qkv.weight), self.block.window)
        q, k, v = _heads(attention, windows + attention.qkv.bias)
        q = torch.cat([q * q.shape[-1] ** -0.5, *attention._position_scores(q)], dim=-1)
        k = torch.cat([k, attention.one_hot.expand(k.shape[0], attention.heads, -1, -1)], dim=-1)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        mixed = mixed.transpose(1, 2).reshape(*windows.shape[:3], -1)
        return cast(Tensor, attention.proj(window_unpartition(mixed, self.block.window, padded, (GRID, GRID))))


def _heads(attention: FoldedAttention, qkv: Tensor) -> list[Tensor]:
    """[B,span,span,3C] → q, k and v, each [B,heads,span²,C/heads]."""
    width = qkv.shape[-1] // 3
    return [
        part.reshape(-1, attention.span**2, attention.heads, width // attention.heads).transpose(1, 2)
        for part in qkv.split(width, dim=-1)
    ]


class ArrangedViT(FoldedViT):
    """The encoder in some arrangement."""

    def __init__(self, vit: nn.Module, arrangement: Arrangement) -> None:
        super().__init__(vit)
        self.blocks = nn.Sequential(*(ArrangedBlock(cast(FoldedBlock, block), arrangement) for block in self.blocks))


def write(folder: Path, arrangement: Arrangement) -> float:
    """Write the arrangement's graphs in both precisions, unless they are there; return its 10⁹ multiplications."""
    import export.networks.encoder as module  # noqa: PLC0415 - whose FoldedViT is replaced

    original = module.FoldedViT
    module.FoldedViT = lambda vit: ArrangedViT(vit, arrangement)  # type: ignore[assignment, misc]
    try:
        sam = random_sam(VIT_B)
        full, integer = (folder / f"{arrangement.name}.{precision}.onnx" for precision in ("fp32", "int8"))
        if not integer.exists():
            save(encoder_graph(sam, "benchmark", {}), full)
            quantize(full, integer)
        with (
            FakeTensorMode(allow_non_fake_inputs=True),
            torch.inference_mode(),
            FlopCounterMode(display=False) as flops,
        ):
            size = torch.full((1, 2), 1024, dtype=torch.int32)
            Encoder(sam, "").eval()(torch.zeros(1, 1024, 1024, 3, dtype=torch.uint8), size)
        return flops.get_total_flops() / 2e9
    finally:
        module.FoldedViT = original  # type: ignore[misc]


def peaks(folder: Path) -> dict[str, Callable[[], object]]:
    """Return a product of matrices of ViT-B's size for each precision, in ONNX Runtime."""
    m, k, n = _SHAPE
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [m, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [m, n])],
        [numpy_helper.from_array(rng.standard_normal((k, n), np.float32), "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "fp32.onnx"
    )
    quantize_dynamic(folder / "fp32.onnx", folder / "int8.onnx", per_channel=True)
    x = {"x": rng.standard_normal((m, k), np.float32)}
    sessions = {precision: _session(folder / f"{precision}.onnx") for precision in ("fp32", "int8")}
    return {precision: lambda session=session: session.run(None, x) for precision, session in sessions.items()}


def _session(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph as `imgr serve` does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(
    graphs: Annotated[Path, typer.Option(help="where graphs are kept")] = _GRAPHS,
    rounds: Annotated[int, typer.Option(help="how often each graph runs")] = 3,
    write_only: Annotated[bool, typer.Option(help="only make the graphs")] = False,
) -> None:
    """Measure and print the tables."""
    graphs.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(_THREADS)
    console = Console()
    products = {arrangement.name: write(graphs, arrangement) for arrangement in ARRANGEMENTS}
    if write_only:
        return
    image = np.random.default_rng(0).integers(0, 256, (1, 1024, 1024, 3), np.uint8)
    inputs = {"image": image, "image_size": np.array([[768, 1024]], np.int32)}
    names = [(arrangement.name, precision) for precision in ("fp32", "int8") for arrangement in ARRANGEMENTS]
    sessions = {name: _session(graphs / f"{'.'.join(name)}.onnx") for name in names}
    peak_calls = peaks(graphs)
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in names}
    processor: dict[tuple[str, str], list[float]] = {name: [] for name in names}
    embeddings = {}
    peak_rates: dict[str, list[float]] = {precision: [] for precision in peak_calls}
    with Progress(console=console) as progress:
        for turn in progress.track(range(rounds + 1), description="encoding"):
            for name, session in sessions.items():
                start, processor_start = time.perf_counter(), time.process_time()
                embeddings[name], _ = session.run(None, inputs)
                if turn:  # the first warms up
                    taken[name].append(time.perf_counter() - start)
                    processor[name].append(time.process_time() - processor_start)
            for precision, call in peak_calls.items():
                peak_rates[precision] += [np.prod(_SHAPE) / 1e9 / _seconds(call) for _ in range(5)]
    for precision, rates in peak_rates.items():
        console.print(
            f"peak {precision}: {statistics.median(rates):.0f} (up to {max(rates):.0f}) 10⁹ multiplications/s"
        )
    first = statistics.median(taken[names[0]])
    table = Table(
        "arrangement",
        "precision",
        *(Column(h, justify="right") for h in ("s", "from – to", "CPU s", "10⁹/s", "× first", "error")),
    )
    for (name, precision), seconds in taken.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.2f} – {max(seconds):.2f}"
        rate = products[name] / middle
        error = relative_error(embeddings[names[0]], embeddings[name, precision])
        busy = f"{statistics.median(processor[name, precision]):.2f}"
        table.add_row(
            name, precision, f"{middle:.2f}", spread, busy, f"{rate:.0f}", f"{first / middle:.2f}", f"{error:.1e}"
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
