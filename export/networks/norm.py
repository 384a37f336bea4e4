"""SAM's LayerNorm2d as the layer normalisation that ONNX has as one operator."""

from typing import cast

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Computes what the given `LayerNorm2d` computes."""

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        self.norm = token_norm(norm)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] → [B,C,H,W]."""
        return cast(Tensor, self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def token_norm(norm: LayerNorm2d) -> nn.LayerNorm:
    """Return the same normalisation for tensors whose last axis is the channel."""
    layer = nn.LayerNorm(norm.weight.shape[0], eps=norm.eps, device="meta")
    layer.load_state_dict({"weight": norm.weight.detach(), "bias": norm.bias.detach()}, assign=True)
    return layer
