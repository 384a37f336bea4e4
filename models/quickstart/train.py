"""Trains the quickstart checkpoint: `python -m models.quickstart.train --help`."""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from rich.console import Console
from segment_anything.modeling import Sam
from torch import distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from export import checkpoint
from export.sam import VIT_T, build
from models.quickstart import network
from models.quickstart.rounds import descend
from models.quickstart.samples import stream
from models.quickstart.scenes import Material
from models.quickstart.sprites import load

SAVE_EVERY = 180  # seconds
REPORT_EVERY = 25  # steps
WARM_UP = 30  # steps
AVERAGING = 0.99  # of the weights' exponential average, which is what is written
NARROWEST = 32  # rows or columns of what counts as a matrix: tables of tokens and of biases have fewer

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Stage:
    """What the options of the command line say."""

    out: Path
    size: int
    steps: int
    init: Path | None
    sharpen: float
    rate: float
    batch: int
    prompts: int
    freeze_statistics: bool
    compiled: bool
    processes: int
    seed: int


@app.command()
def train(
    clipart: Annotated[Path, typer.Option(help="Folder of PNG cut-outs: /usr/share/openclipart/png of Debian.")],
    cache: Annotated[Path, typer.Option(help="Folder for the cut-outs in ready form, one for each --clipart.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write, every few minutes.")],
    size: Annotated[int, typer.Option(help="Longer side of the scenes, divisible by 64.")],
    steps: Annotated[int, typer.Option(help="How many; the learning rate falls to zero over them.")],
    init: Annotated[Path | None, typer.Option(help="The checkpoint to start from.")] = None,
    sharpen: Annotated[
        float, typer.Option(help="Factor of attention's queries at the start, for a step in size.")
    ] = 1.0,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    batch: Annotated[int, typer.Option(help="Pictures a step, divisible by --processes.")] = 8,
    prompts: Annotated[int, typer.Option(help="Prompts a picture.")] = 6,
    freeze_statistics: Annotated[bool, typer.Option(help="Keep BatchNorm's means and variances.")] = False,
    compiled: Annotated[
        bool, typer.Option(help="Compile the network: faster on some machines, after minutes.")
    ] = False,
    processes: Annotated[int, typer.Option(help="Processor cores: each learns from its share of the pictures.")] = 2,
    seed: Annotated[int, typer.Option(help="Other seeds see other scenes.")] = 0,
) -> None:
    """Train one stage; stages of growing size follow each other through --init.

    A stage that was interrupted goes on where it was when it is started again with the same --out.
    """
    stage = Stage(out, size, steps, init, sharpen, rate, batch, prompts, freeze_statistics, compiled, processes, seed)
    material = Material(*load(clipart, cache, "train"))
    with tempfile.TemporaryDirectory() as meeting:
        # Forked, so that all share one copy of the material.
        torch.multiprocessing.start_processes(
            _learn, (stage, material, Path(meeting) / "store"), processes, start_method="fork"
        )


def _learn(rank: int, stage: Stage, material: Material, meeting: Path) -> None:
    """Be one of the processes, which differ in nothing but the scenes they see.

    One thread each: on a busy machine, threads that meet after every operation mostly wait for each other.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(stage.seed)
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=stage.processes)
    sam = checkpoint.load(stage.init).sam if stage.init else build(VIT_T)
    network.sharpen(sam, stage.sharpen)
    sam.to(memory_format=torch.channels_last).train()
    if stage.freeze_statistics:
        for module in sam.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    encoder, decode = sam.image_encoder, network.decode
    if stage.compiled:
        encoder = torch.compile(encoder, dynamic=False)
        # The cache mistakes one of its graphs, of another count of points, for another and fails.
        decode = torch.compile(decode, options={"fx_graph_cache": False})
    average = AveragedModel(sam, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING), use_buffers=True)
    optimizers = _optimizers(sam)
    suspended = stage.out.with_suffix(".state")
    step = _resume(suspended, sam, average, optimizers)
    rng = np.random.default_rng([stage.seed, step, rank])
    scenes = [stage.seed, step, rank]
    batches = iter(stream(material, stage.size, stage.batch // stage.processes, stage.prompts, scenes))

    console = Console(log_path=False, width=200, quiet=rank > 0)
    quality = None
    saved = time.monotonic()
    while step < stage.steps:
        rate = stage.rate * min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / stage.steps)) / 2
        loss, true_iou, scores = descend(sam, encoder, decode, next(batches), rng)
        sam.zero_grad()
        loss.backward()
        _share_gradients(sam)
        nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        average.update_parameters(sam)
        step += 1
        top = true_iou.gather(1, scores.argmax(1)[:, None])
        fresh = np.array([loss.item(), true_iou.amax(1).mean().item(), top.mean().item()])
        quality = fresh if quality is None else 0.97 * quality + 0.03 * fresh
        if step % REPORT_EVERY == 0:
            console.log(
                f"{stage.size} px, step {step} of {stage.steps}: loss {quality[0]:.3f}, "
                f"IoU of the best candidate {quality[1]:.3f}, of the top-scored {quality[2]:.3f}"
            )
        if rank == 0 and time.monotonic() - saved > SAVE_EVERY:
            write_checkpoint(average.module, stage.out)
            _suspend(suspended, sam, average, optimizers, step)
            saved = time.monotonic()
    if rank == 0:
        write_checkpoint(average.module, stage.out)
        suspended.unlink(missing_ok=True)
    distributed.destroy_process_group()


def _optimizers(sam: Sam) -> list[torch.optim.Optimizer]:
    """Return Muon for matrices and AdamW for the rest, at rates of one scale; `_learn` sets them.

    Muon: https://kellerjordan.github.io/posts/muon; its scale: arXiv 2502.16982.
    """
    matrices, rest = [], []
    for weight in sam.parameters():
        (matrices if weight.ndim == 2 and min(weight.shape) >= NARROWEST else rest).append(weight)
    return [
        torch.optim.Muon(matrices, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def _share_gradients(sam: Sam) -> None:
    """Replace every gradient by its mean over the processes."""
    weights = [weight for weight in sam.parameters() if weight.requires_grad]
    # What one process's prompts had no use for, another's may have had.
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(joined)
    joined /= distributed.get_world_size()
    means = joined.split([weight.numel() for weight in weights])
    for weight, mean in zip(weights, means, strict=True):
        weight.grad = mean.view_as(weight)


def write_checkpoint(sam: Sam, path: Path) -> None:
    """Write the weights in half precision."""
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in sam.state_dict().items()}
    _write({name: tensor.contiguous() for name, tensor in state.items()}, path)


def _suspend(path: Path, sam: Sam, average: AveragedModel, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    parts = {"sam": sam.state_dict(), "average": average.state_dict()}
    _write(parts | {"optimizers": [optimizer.state_dict() for optimizer in optimizers], "step": step}, path)


def _resume(path: Path, sam: Sam, average: AveragedModel, optimizers: list[torch.optim.Optimizer]) -> int:
    """Take up what was suspended, if anything, and return the steps it took."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    sam.load_state_dict(state["sam"])
    average.load_state_dict(state["average"])
    for optimizer, part in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(part)
    return state["step"]


def _write(content: dict[str, object], path: Path) -> None:
    """Write beside the path and rename, so that at no moment a broken file lies there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f"{path.suffix}.partial")
    torch.save(content, partial)
    partial.replace(path)


if __name__ == "__main__":
    app()
