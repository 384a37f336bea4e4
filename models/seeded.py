"""Seeded random SAM checkpoints: the real networks with weights that draw masks, though meaningless ones."""

from pathlib import Path

import torch
from segment_anything.modeling import Sam
from torch import nn

from export.networks.sam import QUICKSTART, VIT_B, VIT_H, VIT_L, VIT_T, Architecture, ViT, build

SMALL = ViT(embed_dim=64, depth=4, heads=2, global_blocks=(3,))
ARCHITECTURES: dict[str, Architecture] = {
    "small": SMALL,
    "quickstart": QUICKSTART,
    "vit_t": VIT_T,
    "vit_b": VIT_B,
    "vit_l": VIT_L,
    "vit_h": VIT_H,
}


def random_sam(architecture: Architecture, seed: int = 0) -> Sam:
    """Return a network whose answers depend visibly on the image, on every prompt and on every weight."""
    torch.manual_seed(seed)
    sam = build(architecture)
    for name, parameter in sam.named_parameters():
        # What untrained networks start at zero would hide a mistake in it.
        if "rel_pos" in name or "pos_embed" in name or "attention_biases" in name:
            nn.init.normal_(parameter, std=0.2)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.05)
        elif name.endswith("bn.weight"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    for name, buffer in sam.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.1)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5)
    return sam


def write_checkpoint(path: Path, architecture: Architecture = SMALL, seed: int = 0) -> Path:
    """Write a seeded random checkpoint and return its path."""
    torch.save(random_sam(architecture, seed).state_dict(), path)
    return path
