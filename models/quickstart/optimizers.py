"""How weights follow gradients, in one process or in several that must agree."""

import torch
from segment_anything.modeling import Sam
from torch import Tensor, distributed

BACKBONE_SCALE = 0.2  # of the rate: it knows much already
NECK_SCALE = 2.0  # it starts from nothing
_NARROWEST = 32  # rows or columns of what counts as a matrix: tables of tokens have fewer


def optimizers_of(sam: Sam) -> list[torch.optim.Optimizer]:
    """Return Muon for matrices and AdamW for the rest and the backbone; each group has its "scale" of the rate.

    Muon: https://kellerjordan.github.io/posts/muon; its scale: arXiv 2502.16982.
    """
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for name, weight in sam.named_parameters():
        if not weight.requires_grad:
            continue
        backbone = name.startswith("image_encoder.backbone")
        scale = BACKBONE_SCALE if backbone else NECK_SCALE if name.startswith("image_encoder") else 1.0
        matrix = weight.ndim == 2 and min(weight.shape) >= _NARROWEST
        groups.setdefault((matrix, scale), []).append(weight)
    matrices = [{"params": weights, "scale": scale} for (matrix, scale), weights in groups.items() if matrix]
    rest = [{"params": weights, "scale": scale} for (matrix, scale), weights in groups.items() if not matrix]
    return [
        torch.optim.Muon(matrices, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def share_gradients(sam: Sam) -> None:
    """Replace every gradient by its mean over the processes."""
    weights = [weight for weight in sam.parameters() if weight.requires_grad]
    # What one process's prompts had no use for, another's may have had.
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    joined = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(joined)
    means = (joined / distributed.get_world_size()).split([weight.numel() for weight in weights])
    for weight, mean in zip(weights, means, strict=True):
        weight.grad = mean.view_as(weight)


def agreed(progress: float) -> float:
    """Return the first process's value: all must take the same steps."""
    value = torch.tensor(progress)
    distributed.broadcast(value, 0)
    return value.item()
