"""Averages two checkpoints: `python -m models.quickstart.average --help`.

The mean of weights before and after training on is often better than either (arXiv 2109.01903).
"""

from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from export import checkpoint
from models.quickstart.train import write_checkpoint

app = typer.Typer(add_completion=False)


@app.command()
def average(
    first: Annotated[Path, typer.Argument(help="A checkpoint.")],
    second: Annotated[Path, typer.Argument(help="Another one of the same architecture.")],
    out: Annotated[Path, typer.Argument(help="The checkpoint to write.")],
) -> None:
    """Write the mean of two checkpoints' weights."""
    sam = checkpoint.load(first).sam
    other = checkpoint.load(second).sam.state_dict()
    sam.load_state_dict({name: mean(tensor, other[name]) for name, tensor in sam.state_dict().items()})
    write_checkpoint(sam, out)


def mean(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of two tensors of weights, or the first of two that count something."""
    return (first + second) / 2 if first.is_floating_point() else first


if __name__ == "__main__":
    app()
