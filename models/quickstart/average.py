"""Averages two checkpoints: `python -m models.quickstart.average --help`.

The mean of weights before and after training on is often better than either (arXiv 2109.01903).
"""

from pathlib import Path
from typing import Annotated

import typer
from torch.optim.swa_utils import AveragedModel

from export import checkpoint
from models.quickstart.saving import write_checkpoint

app = typer.Typer(add_completion=False)


@app.command()
def average(
    first: Annotated[Path, typer.Argument(help="A checkpoint.")],
    second: Annotated[Path, typer.Argument(help="Another one of the same architecture.")],
    out: Annotated[Path, typer.Argument(help="The checkpoint to write.")],
) -> None:
    """Write the mean of two checkpoints' weights."""
    mean = AveragedModel(checkpoint.load(first).sam, use_buffers=True)
    for path in (first, second):
        mean.update_parameters(checkpoint.load(path).sam)
    write_checkpoint(mean.module, out)


if __name__ == "__main__":
    app()
