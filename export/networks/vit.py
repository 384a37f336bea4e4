"""SAM's vision transformer, its attention arranged to need little memory and time.

The network is `segment_anything`'s `ImageEncoderViT` (Y. Li et al., "Exploring Plain Vision Transformer Backbones
for Object Detection", arXiv 2203.16527) with the same weights. Its relative positions add, to the score of query
(y, x) and key (y', x'), q·H[y - y'] + q·W[x - x'].

In windows these sums are part of the one product of queries and keys, since they equal the product of
[q·H[y - 0], q·H[y - 1], …, q·W[x - 0], …] with a key's one-hot row and column: no tensor of the size of the scores is
made but the scores themselves. Where all pixels attend to all, the longer product costs more than it saves, so the sums
are added as one bias, for one head after the other: scores of 4096 × 4096 are 64 MiB a head.
"""

from typing import cast

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block, window_partition, window_unpartition
from torch import Tensor, nn

from export.networks.sam import GRID


class FoldedViT(nn.Module):
    """Computes what the given `ImageEncoderViT` computes before its neck, and shares its weights."""

    pos_embed: Tensor

    def __init__(self, vit: ImageEncoderViT) -> None:
        super().__init__()
        self.patch_embed = vit.patch_embed
        self.register_buffer("pos_embed", vit.pos_embed.detach())
        self.blocks = nn.Sequential(*(FoldedBlock(block) for block in vit.blocks))

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,1024,1024] → [B,C,64,64]."""
        return cast(Tensor, self.blocks(self.patch_embed(x) + self.pos_embed).permute(0, 3, 1, 2))


class FoldedBlock(nn.Module):
    """One transformer block."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.window = block.window_size  # 0 where all pixels attend to all
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.attn = FoldedAttention(block.attn, self.window) if self.window else BiasedAttention(block.attn, GRID)

    def forward(self, x: Tensor) -> Tensor:
        """[B,64,64,C] → [B,64,64,C]."""
        y = self.norm1(x)
        if self.window:
            windows, padded = window_partition(y, self.window)
            y = window_unpartition(self.attn(windows), self.window, padded, (GRID, GRID))
        else:
            y = self.attn(y)
        x = x + y
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class FoldedAttention(nn.Module):
    """Multi-head self-attention of a square of pixels, the relative positions folded into queries and keys."""

    offsets: Tensor
    one_hot: Tensor

    def __init__(self, attention: Attention, span: int) -> None:
        super().__init__()
        self.span = span
        self.heads = attention.num_heads
        self.qkv, self.proj = attention.qkv, attention.proj
        self.rel_pos_h, self.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w
        position = torch.arange(span)
        self.register_buffer("offsets", position[:, None] - position + span - 1)
        rows_and_columns = [torch.eye(span).repeat_interleave(span, 0), torch.eye(span).repeat(span, 1)]
        self.register_buffer("one_hot", torch.cat(rows_and_columns, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """[B,span,span,C] → [B,span,span,C]."""
        width = x.shape[-1]
        q, k, v = (
            part.reshape(-1, self.span**2, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=-1)
        )
        mixed = self._mix(q * (width // self.heads) ** -0.5, k, v, *self._position_scores(q))
        return cast(Tensor, self.proj(mixed.transpose(1, 2).reshape(x.shape)))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Attend with scaled queries; all but the last two are [B,heads,span²,C/heads], as is the result."""
        q = torch.cat([q, rows, columns], dim=-1)
        k = torch.cat([k, self.one_hot.expand(k.shape[0], self.heads, -1, -1)], dim=-1)
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v

    def _position_scores(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """[B,heads,span²,C/heads] → what a key's row and its column add, each [B,heads,span²,span]."""
        pixels = q.unflatten(2, (self.span, self.span))  # type: ignore[no-untyped-call]
        by_row = self.rel_pos_h[self.offsets].transpose(1, 2)  # query's row, channel, key's row
        by_column = self.rel_pos_w[self.offsets].transpose(1, 2)
        rows = pixels @ by_row
        columns = (pixels.transpose(2, 3) @ by_column).transpose(2, 3)
        return rows.flatten(2, 3), columns.flatten(2, 3)


class BiasedAttention(FoldedAttention):
    """The same with the relative positions added to the scores, head by head."""

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        heads = (part.chunk(self.heads, dim=1) for part in (q, k, v, rows, columns))
        mixed = [
            (q @ k.transpose(-2, -1) + (row[..., :, None] + column[..., None, :]).flatten(-2)).softmax(-1) @ v
            for q, k, v, row, column in zip(*heads, strict=True)
        ]
        return torch.cat(mixed, dim=1)
