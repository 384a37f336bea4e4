"""Trains the quickstart checkpoint: `python -m models.quickstart.train --help`."""

import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer

from models.quickstart.scenes import Material
from models.quickstart.sprites import load
from models.quickstart.stage import Stage, learn

app = typer.Typer(add_completion=False)


@app.command()
def train(
    clipart: Annotated[Path, typer.Option(help="Folder of PNG cut-outs: /usr/share/openclipart/png of Debian.")],
    cache: Annotated[Path, typer.Option(help="Folder for the cut-outs in ready form, one for each --clipart.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write, every few minutes.")],
    size: Annotated[int, typer.Option(help="Longer side of the scenes, divisible by 64.")],
    minutes: Annotated[float, typer.Option(help="How long; the learning rate falls to zero over them.")],
    init: Annotated[Path | None, typer.Option(help="The checkpoint to start from.")] = None,
    sharpen: Annotated[
        float, typer.Option(help="Factor of attention's queries at the start, for a step in size.")
    ] = 1.0,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    batch: Annotated[int, typer.Option(help="Pictures a step, divisible by --processes.")] = 8,
    prompts: Annotated[int, typer.Option(help="Prompts a picture.")] = 6,
    freeze_statistics: Annotated[bool, typer.Option(help="Keep BatchNorm's means and variances.")] = False,
    compiled: Annotated[
        bool, typer.Option(help="Compile the encoder: faster on some machines, after minutes.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda: one process then, and many workers.")] = "cpu",
    processes: Annotated[int, typer.Option(help="Processor cores: each learns from its share of the pictures.")] = 2,
    workers: Annotated[int, typer.Option(help="Processes that compose scenes, beside each process that learns.")] = 1,
    seed: Annotated[int, typer.Option(help="Other seeds see other scenes.")] = 0,
) -> None:
    """Train one stage; stages of growing size follow each other through --init.

    A stage that was interrupted goes on where it was when it is started again with the same --out.
    """
    stage = Stage(
        out=out,
        size=size,
        minutes=minutes,
        init=init,
        sharpen=sharpen,
        rate=rate,
        batch=batch,
        prompts=prompts,
        freeze_statistics=freeze_statistics,
        compiled=compiled,
        device=device,
        processes=processes,
        workers=workers,
        seed=seed,
    )
    material = Material(*load(clipart, cache, "train"))
    with tempfile.TemporaryDirectory() as meeting:
        # Forked, so that all share one copy of the material.
        torch.multiprocessing.start_processes(
            learn, (stage, material, Path(meeting) / "store"), processes, start_method="fork"
        )


if __name__ == "__main__":
    app()
