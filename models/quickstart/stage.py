"""A stage of training: pictures of one size, for a while, at a rate that falls to zero."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from segment_anything.modeling import Sam
from torch import distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from export import checkpoint
from export.networks.sam import VIT_T, build
from models.quickstart import network
from models.quickstart.optimizers import agreed, optimizers_of, share_gradients
from models.quickstart.rounds import descend
from models.quickstart.samples import stream
from models.quickstart.saving import resume, suspend, write_checkpoint
from models.quickstart.scenes import Material

SAVE_EVERY = 180  # seconds
REPORT_EVERY = 25  # steps
WARM_UP = 0.03  # of a stage
AVERAGING = 0.99  # of the weights' exponential average, which is what is written


@dataclass(frozen=True)
class Stage:
    """What the options of the command line say."""

    out: Path
    size: int
    minutes: float
    init: Path | None
    sharpen: float
    rate: float
    batch: int
    prompts: int
    freeze_statistics: bool
    compiled: bool
    device: str
    processes: int
    workers: int
    seed: int


def learn(rank: int, stage: Stage, material: Material, meeting: Path) -> None:
    """Be one of the processes, which differ in nothing but the scenes they see.

    One thread each: on a busy machine, threads that meet after every operation mostly wait for each other.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(stage.seed)
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=stage.processes)
    sam = _network(stage)
    encoder = torch.compile(sam.image_encoder, dynamic=False) if stage.compiled else sam.image_encoder
    average = AveragedModel(sam, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING), use_buffers=True)
    optimizers = optimizers_of(sam)
    suspended = stage.out.with_suffix(".state")
    step, progress = resume(suspended, sam, average, optimizers)
    rng = np.random.default_rng([stage.seed, step, rank])
    scenes = [stage.seed, step, rank]
    batches = iter(stream(material, stage.size, stage.batch // stage.processes, stage.prompts, scenes, stage.workers))

    console = Console(log_path=False, width=200, quiet=rank > 0)
    quality, waited = None, 0.0
    saved = reported = now = time.monotonic()
    while progress < 1:
        rate = stage.rate * min(1, progress / WARM_UP) * (1 + math.cos(math.pi * progress)) / 2
        batch = next(batches).on(stage.device)
        waited += time.monotonic() - now
        loss, true_iou, scores = descend(sam, encoder, batch, rng)
        sam.zero_grad()
        loss.backward()
        share_gradients(sam)
        nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        average.update_parameters(sam)
        step += 1
        before, now = now, time.monotonic()
        progress = agreed(progress + (now - before) / 60 / stage.minutes)
        top = true_iou.gather(1, scores.argmax(1)[:, None])
        fresh = np.array([loss.item(), true_iou.amax(1).mean().item(), top.mean().item()])
        quality = fresh if quality is None else 0.97 * quality + 0.03 * fresh
        if step % REPORT_EVERY == 0:
            console.log(
                f"{stage.size} px, step {step}, {progress:.1%}: loss {quality[0]:.3f}, "
                f"IoU of the best candidate {quality[1]:.3f}, of the top-scored {quality[2]:.3f}; "
                f"{REPORT_EVERY * stage.batch / (now - reported):.1f} pictures a second, "
                f"{waited / (now - reported):.0%} of the time waiting for them"
            )
            reported, waited = now, 0.0
        if rank == 0 and now - saved > SAVE_EVERY:
            write_checkpoint(average.module, stage.out)
            suspend(suspended, sam, average, optimizers, step, progress)
            saved = now
    if rank == 0:
        write_checkpoint(average.module, stage.out)
        suspended.unlink(missing_ok=True)
    distributed.destroy_process_group()


def _network(stage: Stage) -> Sam:
    """Return the network to train, with what the stage freezes frozen."""
    sam = checkpoint.load(stage.init).sam if stage.init else build(VIT_T)
    network.sharpen(sam, stage.sharpen)
    sam.to(stage.device, memory_format=torch.channels_last).train()
    if stage.freeze_statistics:
        for module in sam.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    return sam
