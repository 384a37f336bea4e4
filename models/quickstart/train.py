"""Trains the quickstart checkpoint: `python -m models.quickstart.train --help`."""

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from rich.console import Console
from segment_anything.modeling import Sam
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from export import checkpoint
from export.networks.efficientnet import EARLY, LiteEncoder
from models.quickstart import network
from models.quickstart.optimizers import agreed, optimizers_of, share_gradients
from models.quickstart.pretrained import backbone
from models.quickstart.rounds import descend
from models.quickstart.samples import Batch, stream
from models.quickstart.saving import resume, suspend, write_checkpoint

SAVE_EVERY = 180  # seconds
REPORT_EVERY = 20  # steps
WARM_UP = 0.02  # of the time
AVERAGING = 0.98  # of the weights' exponential average, which is what is written
LARGE_SHARE = (0.1, 0.7)  # of the steps with pictures of full size, at the start and at the end; others have half
IMITATION = 0.12  # of the time: at first the encoder learns to embed as the one that the decoder was trained with

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Training:
    """What the options of the command line say."""

    scenes: Path
    out: Path
    init: Path
    imagenet: Path | None
    minutes: float
    rate: float
    size: int
    batch: int
    prompts: int
    processes: int
    seed: int


def learn(rank: int, training: Training, meeting: Path) -> None:
    """Be one of the processes, which differ in nothing but the scenes they see.

    One thread each: on a busy machine, threads that meet after every operation mostly wait for each other.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(training.seed)
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=training.processes)
    teacher = checkpoint.load(training.init).sam.image_encoder.requires_grad_(False) if training.imagenet else None
    sam = network_of(training.init, training.imagenet)
    average = AveragedModel(sam, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING))
    optimizers = optimizers_of(sam)
    suspended = training.out.with_suffix(".state")
    step, progress = resume(suspended, sam, average, optimizers)
    seed = [training.seed, step, rank]
    rng, dice = np.random.default_rng(seed), np.random.default_rng([training.seed, step])  # the dice fall alike for all
    share = training.batch // training.processes
    streams = {
        side: iter(stream(training.scenes, side, max(1, pictures), training.prompts, seed))
        for side, pictures in ((training.size // 2, share), (training.size, share // 4))
    }
    report = Report(quiet=rank > 0)
    saved = now = time.monotonic()
    while progress < 1:
        rate = training.rate * min(1, 0.1 + progress / WARM_UP) * (1 + math.cos(math.pi * progress)) / 2
        large = dice.random() < LARGE_SHARE[0] + (LARGE_SHARE[1] - LARGE_SHARE[0]) * progress**2
        side = training.size if large else training.size // 2
        batch = next(streams[side]).read()
        if teacher and progress < IMITATION:
            loss, figures = imitate(sam, teacher, batch), {}
        else:
            loss, figures = descend(sam, batch, rng)
        sam.zero_grad()
        loss.backward()
        share_gradients(sam)
        nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            optimizer.step()
        average.update_parameters(sam)
        step += 1
        before, now = now, time.monotonic()
        progress = agreed(progress + (now - before) / 60 / training.minutes)
        report.add(step, progress, {f"{side} px": loss.item(), **figures})
        if rank == 0 and now - saved > SAVE_EVERY:
            write_checkpoint(average.module, training.out)
            suspend(suspended, sam, average, optimizers, step, progress)
            saved = now
    if rank == 0:
        write_checkpoint(average.module, training.out)
        suspend(suspended, sam, average, optimizers, step, progress)
    distributed.destroy_process_group()


def imitate(sam: Sam, teacher: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared difference between the encoder's embedding and the teacher's."""
    images = network.preprocess(batch.images, batch.sizes)
    with torch.no_grad():
        wanted = teacher(images)
    return functional.mse_loss(sam.image_encoder(images), wanted) / wanted.var()


class Report:
    """Running means of what there is to tell, printed now and then."""

    def __init__(self, *, quiet: bool) -> None:
        self.console = Console(log_path=False, width=200, quiet=quiet)
        self.means: dict[str, float] = {}

    def add(self, step: int, progress: float, figures: Mapping[str, float]) -> None:
        """Take a step's figures by name."""
        for name, value in figures.items():
            self.means[name] = 0.95 * self.means.get(name, value) + 0.05 * value
        if step % REPORT_EVERY == 0:
            told = ", ".join(f"{name} {mean:.3f}" for name, mean in self.means.items())
            self.console.log(f"step {step}, {progress:.1%}: {told}")


def network_of(init: Path, imagenet: Path | None) -> Sam:
    """Return the network to train.

    Args:
        init: the checkpoint to start from; of another encoder, only its prompt encoder and mask decoder are taken.
        imagenet: weights of the backbone; if given, the encoder starts from them.
    """
    sam = checkpoint.load(init).sam
    if imagenet:
        sam.image_encoder = LiteEncoder()
        sam.image_encoder.backbone = backbone(torch.load(imagenet, map_location="cpu", weights_only=True))
    sam.to(memory_format=torch.channels_last).train()
    early = sam.image_encoder.backbone
    for part in (early.stem, *early.stages[:EARLY]):
        part.requires_grad_(False)
    return sam


@app.command()
def train(
    scenes: Annotated[Path, typer.Option(help="Folder that models.quickstart.pack fills.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write, every few minutes.")],
    init: Annotated[Path, typer.Option(help="The checkpoint to start from.")],
    minutes: Annotated[float, typer.Option(help="How long; the learning rate falls to zero over them.")],
    imagenet: Annotated[Path | None, typer.Option(help="ImageNet weights to start the backbone from.")] = None,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 4e-4,
    size: Annotated[int, typer.Option(help="Longer side of the large pictures, divisible by 128.")] = 1024,
    batch: Annotated[int, typer.Option(help="Small pictures a step, of all processes together.")] = 8,
    prompts: Annotated[int, typer.Option(help="Prompts a picture.")] = 6,
    processes: Annotated[int, typer.Option(help="Processor cores: each learns from its share of the pictures.")] = 2,
    seed: Annotated[int, typer.Option(help="Other seeds see other prompts.")] = 0,
) -> None:
    """Train; what was interrupted goes on where it was when it is started again with the same --out."""
    training = Training(scenes, out, init, imagenet, minutes, rate, size, batch, prompts, processes, seed)
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.start_processes(
            learn, (training, Path(meeting) / "store"), processes, start_method="fork"
        )


if __name__ == "__main__":
    app()
