"""Files of a stage: the checkpoint that comes of it, and what it takes to go on."""

from pathlib import Path

import torch
from segment_anything.modeling import Sam
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel


def write_checkpoint(sam: Sam, path: Path) -> None:
    """Write the weights in half precision."""
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in sam.state_dict().items()}
    _write({name: tensor.cpu().contiguous() for name, tensor in state.items()}, path)


def suspend(
    path: Path,
    sam: Sam,
    average: AveragedModel,
    optimizers: list[Optimizer],
    step: int,
    progress: float,
) -> None:
    """Write all that `resume` takes up."""
    parts = {"sam": sam.state_dict(), "average": average.state_dict(), "step": step, "progress": progress}
    _write(parts | {"optimizers": [optimizer.state_dict() for optimizer in optimizers]}, path)


def resume(path: Path, sam: Sam, average: AveragedModel, optimizers: list[Optimizer]) -> tuple[int, float]:
    """Take up what was suspended, if anything, and return the steps it took and the share of its time."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, map_location="cpu", weights_only=True)
    sam.load_state_dict(state["sam"])
    average.load_state_dict(state["average"])
    for optimizer, part in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(part)
    return state["step"], state["progress"]


def _write(content: dict[str, object], path: Path) -> None:
    """Write beside the path and rename, so that at no moment a broken file lies there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f"{path.suffix}.partial")
    torch.save(content, partial)
    partial.replace(path)
