"""How weights follow gradients, in one process or in several that must agree."""

import torch
from segment_anything.modeling import Sam
from torch import distributed

NARROWEST = 32  # rows or columns of what counts as a matrix: tables of tokens and of biases have fewer


def optimizers_of(sam: Sam) -> list[torch.optim.Optimizer]:
    """Return Muon for matrices and AdamW for the rest, at rates of one scale.

    Muon: https://kellerjordan.github.io/posts/muon; its scale: arXiv 2502.16982.
    """
    matrices, rest = [], []
    for weight in sam.parameters():
        (matrices if weight.ndim == 2 and min(weight.shape) >= NARROWEST else rest).append(weight)
    return [
        torch.optim.Muon(matrices, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def share_gradients(sam: Sam) -> None:
    """Replace every gradient by its mean over the processes."""
    if distributed.get_world_size() == 1:
        return
    weights = [weight for weight in sam.parameters() if weight.requires_grad]
    # What one process's prompts had no use for, another's may have had.
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(joined)
    joined /= distributed.get_world_size()
    means = joined.split([weight.numel() for weight in weights])
    for weight, mean in zip(weights, means, strict=True):
        weight.grad = mean.view_as(weight)


def agreed(progress: float) -> float:
    """Return the first process's value: all must take the same steps."""
    value = torch.tensor(progress)
    distributed.broadcast(value, 0)
    return value.item()
