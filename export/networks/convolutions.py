"""The decoder's 2 × 2 convolutions of stride 2 as matrix products: pixels stay tokens, [B, pixels, channels]."""

from typing import cast

from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn
from torch.nn import functional

from export.networks.norm import token_norm
from export.networks.sam import GRID


class Upscaling(nn.Module):
    """Splits every pixel into sixteen: [B,4096,256] → [B,65536,32], quarters of quarters consecutive."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        first, norm, _, second, _ = decoder.output_upscaling
        self.first = _split_into_quarters(first)
        self.norm = token_norm(norm)
        self.second = _split_into_quarters(second)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B,4096,256] → [B,65536,32]."""
        quarters = self.first(pixels).unflatten(-1, (4, -1)).flatten(1, 2)
        quarters = functional.gelu(self.norm(quarters))
        return functional.gelu(self.second(quarters).unflatten(-1, (4, -1)).flatten(1, 2))


class MaskDownscaling(nn.Module):
    """Turns a mask into something to add to the pixels: [B,1,256,256] → [B,4096,256]."""

    def __init__(self, prompts: PromptEncoder) -> None:
        super().__init__()
        first, first_norm, _, second, second_norm, _, last = prompts.mask_downscaling
        self.first, self.first_norm = _merge_quarters(first), token_norm(first_norm)
        self.second, self.second_norm = _merge_quarters(second), token_norm(second_norm)
        self.last = _merge_quarters(last)

    def forward(self, mask: Tensor) -> Tensor:
        """[B,1,256,256] → [B,4096,256]."""
        cells = mask.reshape(-1, GRID, 2, 2, GRID, 2, 2).permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, GRID * GRID, 4, 4)
        cells = functional.gelu(self.first_norm(self.first(cells)))
        cells = functional.gelu(self.second_norm(self.second(cells.flatten(2))))
        return cast(Tensor, self.last(cells))


def _split_into_quarters(conv: nn.ConvTranspose2d) -> nn.Linear:
    """Return the transposed 2 × 2 convolution of stride 2 as C → (row, column, C')."""
    return _linear(conv.weight.permute(2, 3, 1, 0).flatten(0, 2), cast(Tensor, conv.bias).repeat(4))


def _merge_quarters(conv: nn.Conv2d) -> nn.Linear:
    """Return the convolution whose kernel is as large as its stride as (row, column, C) → C'."""
    return _linear(conv.weight.permute(0, 2, 3, 1).flatten(1), cast(Tensor, conv.bias))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()}, assign=True)
    return layer
