"""What a click costs in several decoder graphs, turn by turn, by the number of its points; ADR 9 has the figures.

    uv run python -m benchmarks.experiments.decoder GRAPH… [--rounds 30] [--threads 2] [--mask]

Each graph answers the same random prompts in ONNX Runtime on the CPU. Processor time is what to compare: other work on
the machine lengthens the wall time of either.
"""

import time
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import onnxruntime
import typer
from numpy.typing import NDArray

from export.networks.decoder import PADDING
from export.networks.sam import GRID, WIDTH

_POINTS = (1, 2, 4, 8, 12, 16, 33)


def main(
    graphs: Annotated[list[Path], typer.Argument(help="decoders; the first is what the others are compared with")],
    rounds: int = 30,
    threads: int = 2,
    mask: Annotated[bool, typer.Option(help="give each click a mask, too")] = False,
) -> None:
    """Print milliseconds and processor milliseconds a click, the ratio, and how far answers differ."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    sessions = [onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for graph in graphs]
    print("| points | graph | ms | processor ms | ratio | largest difference of logits |\n|---|---|---|---|---|---|")
    for points in _POINTS:
        feeds = _click(points, mask)
        masks = [session.run(["low_res_masks"], feeds)[0] for session in sessions]
        spent: list[list[tuple[float, float]]] = [[] for _ in sessions]
        for _ in range(rounds):
            for session, times in zip(sessions, spent, strict=True):
                wall, processor = time.perf_counter(), time.process_time()
                session.run(["low_res_masks"], feeds)
                times.append((time.perf_counter() - wall, time.process_time() - processor))
        first = median(processor for _, processor in spent[0])
        for graph, logits, times in zip(graphs, masks, spent, strict=True):
            wall, processor = median(wall for wall, _ in times), median(processor for _, processor in times)
            difference = np.abs(logits - masks[0]).max()
            cells = (f"{1000 * wall:.1f}", f"{1000 * processor:.1f}", f"{processor / first:.2f}", f"{difference:.1e}")
            print(f"| {points} | {graph.name} | {' | '.join(cells)} |")


def _click(points: int, mask: bool) -> dict[str, NDArray[np.float32] | NDArray[np.int32]]:
    """Return a batch of one, its points padded as the adapter pads them."""
    rng = np.random.default_rng(0)
    length = max(4, 1 << (points - 1).bit_length())
    labels = np.full((1, length), PADDING, np.int32)
    labels[:, :points] = 1
    return {
        "image_embeddings": rng.standard_normal((1, WIDTH, GRID, GRID), np.float32),
        "point_coords": rng.random((1, length, 2), np.float32) * 1024,
        "point_labels": labels,
        "mask_input": rng.standard_normal((1, 1, 4 * GRID, 4 * GRID), np.float32),
        "has_mask_input": np.full((1, 1), mask, np.float32),
    }


typer.run(main)
