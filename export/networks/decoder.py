"""The graph that turns an embedding and prompts into three candidate masks.

The same network as `segment_anything`'s PromptEncoder, TwoWayTransformer and MaskDecoder (A. Kirillov et al.,
"Segment Anything", arXiv 2304.02643), with three differences in form:

* every input has a batch axis, so requests about different images share a batch;
* points labelled PADDING are masked out of every attention, so requests of different lengths share a batch;
* pixels stay tokens, [B, pixels, channels], to the end: the 2 × 2 convolutions of stride 2 are then matrix
  products, and LayerNorm2d is LayerNorm, which ONNX has as one operator.
"""

import math
from typing import cast

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional

from export.networks.identity import IdentityConstant
from export.networks.norm import token_norm
from export.networks.sam import GRID, IMAGE_SIZE

NOT_A_POINT = -1
PADDING = -2
_CANDIDATES = slice(1, 4)  # mask token 0 is the single-mask output, which is never asked for


class Decoder(nn.Module):
    """SAM's prompt encoder, two-way transformer and mask decoder, batch-first."""

    frequencies: Tensor
    label_embeddings: Tensor
    output_tokens: Tensor
    no_mask: Tensor

    def __init__(self, sam: Sam, identity: str) -> None:
        super().__init__()
        prompts, masks = sam.prompt_encoder, sam.mask_decoder
        self.identity = IdentityConstant(identity)
        self.register_buffer("frequencies", prompts.pe_layer.positional_encoding_gaussian_matrix)
        # By label + 1: not a point, background, foreground, the box's top left and bottom right corners.
        by_label = [prompts.not_a_point_embed, *prompts.point_embeddings]
        self.register_buffer("label_embeddings", torch.cat([embedding.weight.detach() for embedding in by_label]))
        self.register_buffer("no_mask", prompts.no_mask_embed.weight.detach())
        self.mask_downscaling = MaskDownscaling(prompts)
        self.register_buffer("output_tokens", torch.cat([masks.iou_token.weight, masks.mask_tokens.weight]).detach())
        self.transformer = masks.transformer
        self.upscaling = Upscaling(masks)
        self.hypernetworks = masks.output_hypernetworks_mlps[_CANDIDATES]
        self.iou_head = masks.iou_prediction_head

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict masks.

        Args:
            image_embeddings: float32 [B,256,64,64].
            point_coords: float32 [B,N,2], (x, y) in pixels of the 1024 frame.
            point_labels: int32 [B,N]: 1 foreground, 0 background, 2 and 3 the corners of a box, -1 SAM's
                "not a point", -2 padding, which has no influence whatever its coordinates.
            mask_input: float32 [B,1,256,256], logits of an earlier mask.
            has_mask_input: float32 [B,1], 1 if mask_input counts; where 0, it has no influence whatever it holds.

        Returns:
            low_res_masks float32 [B,3,256,256] (logits), iou_predictions float32 [B,3] and identity uint8 [B,64].
        """
        prompt_tokens = self._embed_points(point_coords, point_labels)
        tokens = torch.cat([self.output_tokens.expand(prompt_tokens.shape[0], -1, -1), prompt_tokens], dim=1)
        padding = functional.pad(point_labels == PADDING, (len(self.output_tokens), 0))
        attention_bias = torch.where(padding, -math.inf, 0.0)[:, None, None]

        pixels = image_embeddings.flatten(2).transpose(1, 2)
        has_mask = has_mask_input[:, :, None] > 0.5
        # Selected, not weighted: 0 × NaN would still be NaN.
        pixels = pixels + torch.where(has_mask, self.mask_downscaling(mask_input), self.no_mask)

        tokens, pixels = self._transform(tokens, pixels, attention_bias)
        return (
            self._draw(tokens[:, 1:][:, _CANDIDATES], self.upscaling(pixels)),
            self.iou_head(tokens[:, 0])[:, _CANDIDATES],
            self.identity(image_embeddings),
        )

    def _encode_positions(self, coords: Tensor) -> Tensor:
        """Random Fourier features of (x, y) in 0…1: […,2] → […,256]."""
        angles = 2 * math.pi * ((2 * coords - 1) @ self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def _embed_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """[B,N,2], [B,N] → [B,N,256]; zero for padding."""
        positions = self._encode_positions((coords + 0.5) / IMAGE_SIZE)
        positions = torch.where(labels[:, :, None] >= 0, positions, 0.0)
        kinds = self.label_embeddings[labels.clamp(NOT_A_POINT, 3).long() - NOT_A_POINT]
        return torch.where(labels[:, :, None] == PADDING, 0.0, positions + kinds)

    def _pixel_positions(self) -> Tensor:
        """Return the encoded centres of the embedding's pixels: [4096,256]."""
        centre = (torch.arange(GRID, dtype=torch.float32) + 0.5) / GRID
        x, y = centre.repeat(GRID), centre.repeat_interleave(GRID)
        return self._encode_positions(torch.stack([x, y], dim=-1))

    def _transform(self, tokens: Tensor, pixels: Tensor, attention_bias: Tensor) -> tuple[Tensor, Tensor]:
        """Let tokens [B,T,256] and pixels [B,4096,256] attend to each other; attention_bias is [B,1,1,T]."""
        token_pe, pixel_pe = tokens, self._pixel_positions()
        for number, layer in enumerate(self.transformer.layers):
            if number == 0:
                tokens = _attend(layer.self_attn, tokens, tokens, tokens, attention_bias)
            else:
                query = tokens + token_pe
                tokens = tokens + _attend(layer.self_attn, query, query, tokens, attention_bias)
            tokens = layer.norm1(tokens)
            tokens = tokens + _attend(layer.cross_attn_token_to_image, tokens + token_pe, pixels + pixel_pe, pixels)
            tokens = layer.norm2(tokens)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            pixels = pixels + _attend(
                layer.cross_attn_image_to_token, pixels + pixel_pe, tokens + token_pe, tokens, attention_bias
            )
            pixels = layer.norm4(pixels)
        final = self.transformer.final_attn_token_to_image
        tokens = tokens + _attend(final, tokens + token_pe, pixels + pixel_pe, pixels)
        return self.transformer.norm_final_attn(tokens), pixels

    def _draw(self, mask_tokens: Tensor, features: Tensor) -> Tensor:
        """[B,3,256], [B,65536,32] in the order of Upscaling → [B,3,256,256]."""
        weights = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.hypernetworks)], dim=1)
        masks = weights @ features.transpose(1, 2)
        # Row and column of a pixel, of a quarter in it, of a sixteenth in that.
        masks = masks.reshape(-1, len(self.hypernetworks), GRID, GRID, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return masks.reshape(-1, len(self.hypernetworks), 4 * GRID, 4 * GRID)


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


def _attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention of segment_anything's `Attention`, with an additive bias on the scores."""
    heads = attention.num_heads
    q, k, v = (
        project(x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for project, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    )
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    return cast(Tensor, attention.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)))


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
