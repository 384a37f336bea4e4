"""The graph that turns an embedding and prompts into three candidate masks.

The same network as `segment_anything`'s PromptEncoder, TwoWayTransformer and MaskDecoder (A. Kirillov et al.,
"Segment Anything", arXiv 2304.02643), with differences in form:

* every input has a batch axis, so requests about different images share a batch;
* points labelled PADDING are masked out of every attention, so requests of different lengths share a batch;
* pixels stay tokens, [B, pixels, channels], to the end: the 2 × 2 convolutions of stride 2 are then matrix
  products, and LayerNorm2d is LayerNorm, which ONNX has as one operator;
* what the prompt makes superfluous is not computed, and few tokens attend to pixels that are not projected.
"""

import math
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional

from export.networks.attention import absorbed, attend, negative, negative_absorbed
from export.networks.convolutions import MaskDownscaling, Upscaling
from export.networks.identity import IdentityConstant
from export.networks.sam import GRID, IMAGE_SIZE

NOT_A_POINT = -1
PADDING = -2
# Points, above which pixels are projected: the absorbed form costs more with every token.
MOST_ABSORBED = 12
_CANDIDATES = slice(1, 4)  # mask token 0 is the single-mask output, which is never asked for
_ANSWERING = [0, 2, 3, 4]  # tokens whose state after the last attention counts: the scores' and the candidates'

T = TypeVar("T")


class Decoder(nn.Module):
    """SAM's prompt encoder, two-way transformer and mask decoder, batch-first.

    Args:
        sam: the network.
        identity: what the graph answers that it is.
        branching: whether the graph decides by the prompt what to compute, which spares a CPU half of the work and
            makes a GPU wait: padding is cut off, masks are read only where there is one in the batch, and attention
            has the form that is cheaper for so many points.
    """

    frequencies: Tensor
    label_embeddings: Tensor
    output_tokens: Tensor
    no_mask: Tensor

    def __init__(self, sam: Sam, identity: str, *, branching: bool = True) -> None:
        super().__init__()
        self.branching = branching
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

        pixels = self._with_mask(image_embeddings.flatten(2).transpose(1, 2), mask_input, has_mask_input)
        tokens, pixels = self._transform(tokens, pixels, attention_bias)
        return (
            self._draw(tokens[:, 1:], self.upscaling(pixels)),
            self.iou_head(tokens[:, 0])[:, _CANDIDATES],
            self.identity(image_embeddings),
        )

    def _with_mask(self, pixels: Tensor, mask: Tensor, has_mask: Tensor) -> Tensor:
        """Add to pixels [B,4096,256] what masks [B,1,256,256] say, or that there is none, by has_mask [B,1]."""

        def some(pixels: Tensor, mask: Tensor, has_mask: Tensor) -> Tensor:
            # Selected, not weighted: 0 × NaN would still be NaN.
            return pixels + torch.where(has_mask[:, :, None] > 0.5, self.mask_downscaling(mask), self.no_mask)

        def none(pixels: Tensor, *_: Tensor) -> Tensor:
            return pixels + self.no_mask

        if not self.branching:
            return some(pixels, mask, has_mask)
        return _choose((has_mask > 0.5).any(), some, none, (pixels, mask, has_mask))

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
        """Let tokens [B,T,256] and pixels [B,4096,256] attend to each other; attention_bias is [B,1,1,T].

        Returns:
            the tokens that answer, [B,4,256], and the pixels.
        """
        token_pe, pixel_pe = tokens, self._pixel_positions()
        operands = (tokens, pixels, pixel_pe, attention_bias)
        if self.branching:
            few = tokens.shape[1] - len(self.output_tokens) <= MOST_ABSORBED
            tokens, pixels = _choose(few, self._absorbed_layers, self._projected_layers, operands)
        else:
            tokens, pixels = self._projected_layers(*operands)
        tokens, token_pe = tokens[:, _ANSWERING], token_pe[:, _ANSWERING]
        final = self.transformer.final_attn_token_to_image
        tokens = tokens + absorbed(final, tokens + token_pe, pixels + pixel_pe, pixels)
        return self.transformer.norm_final_attn(tokens), pixels

    def _absorbed_layers(self, tokens: Tensor, pixels: Tensor, pixel_pe: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return self._layers(tokens, pixels, pixel_pe, bias, absorbed, negative_absorbed)

    def _projected_layers(
        self, tokens: Tensor, pixels: Tensor, pixel_pe: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self._layers(tokens, pixels, pixel_pe, bias, attend, negative)

    def _layers(
        self,
        tokens: Tensor,
        pixels: Tensor,
        pixel_pe: Tensor,
        bias: Tensor,
        to_pixels: Callable[..., Tensor],
        negative_from_pixels: Callable[..., Tensor],
    ) -> tuple[Tensor, Tensor]:
        token_pe = tokens
        for number, layer in enumerate(self.transformer.layers):
            if number == 0:
                tokens = attend(layer.self_attn, tokens, tokens, tokens, bias)
            else:
                query = tokens + token_pe
                tokens = tokens + attend(layer.self_attn, query, query, tokens, bias)
            tokens = layer.norm1(tokens)
            placed = pixels + pixel_pe
            tokens = tokens + to_pixels(layer.cross_attn_token_to_image, tokens + token_pe, placed, pixels)
            tokens = layer.norm2(tokens)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            # Subtracted: for what is added before a normalisation ONNX Runtime takes an operator of its own, whose
            # CPU kernel takes longer than both of them.
            pixels = pixels - negative_from_pixels(
                layer.cross_attn_image_to_token, placed, tokens + token_pe, tokens, bias
            )
            pixels = layer.norm4(pixels)
        return tokens, pixels

    def _draw(self, mask_tokens: Tensor, features: Tensor) -> Tensor:
        """[B,3,256], [B,65536,32] in the order of Upscaling → [B,3,256,256]."""
        weights = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.hypernetworks)], dim=1)
        masks = weights @ features.transpose(1, 2)
        # Row and column of a pixel, of a quarter in it, of a sixteenth in that.
        masks = masks.reshape(-1, len(self.hypernetworks), GRID, GRID, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return masks.reshape(-1, len(self.hypernetworks), 4 * GRID, 4 * GRID)


def _choose(
    condition: Tensor | bool, one: Callable[..., T], other: Callable[..., T], operands: tuple[Tensor, ...]
) -> T:
    """Return what one of two functions returns; a graph holds both and runs one."""
    if torch.compiler.is_exporting():
        return cast(T, torch.cond(condition, one, other, operands))
    return (one if condition else other)(*operands)
