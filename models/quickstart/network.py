"""SAM's network on batches of pictures with several prompts each, at any resolution divisible by 64.

The modules are those of `export`, the composition is `segment_anything`'s; it is written out here because theirs
takes one picture at a time, and the exported graph holds its weights as constants.
"""

import math

import torch
from segment_anything.modeling import MaskDecoder, Sam, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional

from export.networks.sam import PIXEL_MEAN, PIXEL_STD

CANDIDATES = slice(1, 4)


def preprocess(images: Tensor, sizes: Tensor) -> Tensor:
    """Normalise pictures and zero what lies outside them: uint8 [B,S,S,3], int [B,2] (h, w) → float32 [B,3,S,S]."""
    mean, std = torch.tensor(PIXEL_MEAN, device=images.device), torch.tensor(PIXEL_STD, device=images.device)
    side = torch.arange(images.shape[1], device=images.device)
    inside = (side[None, :, None] < sizes[:, 0, None, None]) & (side[None, None] < sizes[:, 1, None, None])
    x = (images.float() - mean) / std * inside[..., None]
    return x.permute(0, 3, 1, 2)  # channels last in memory, which convolutions prefer


def decode(
    sam: Sam, embeddings: Tensor, coords: Tensor, labels: Tensor, masks: Tensor, has_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict three candidates for each prompt.

    Args:
        sam: the network.
        embeddings: float32 [B,256,g,g].
        coords: float32 [B·P,N,2], (x, y) in pixels of the square of 16·g pixels; P prompts of each picture in turn.
        labels: int64 [B·P,N] as in `prompts`.
        masks: float32 [B·P,1,4·g,4·g], logits of an earlier mask.
        has_mask: bool [B·P], whether that counts.

    Returns:
        Logits float32 [B·P,3,4·g,4·g] and predicted IoU float32 [B·P,3].
    """
    prompts, decoder = sam.prompt_encoder, sam.mask_decoder
    grid = embeddings.shape[-1]
    count = len(coords) // len(embeddings)
    kinds = torch.cat([prompts.not_a_point_embed.weight, *(e.weight for e in prompts.point_embeddings)])
    positions = prompts.pe_layer.forward_with_coords(coords + 0.5, (16 * grid, 16 * grid))
    points = positions * (labels >= 0)[..., None] + kinds[labels + 1]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(points), -1, -1), points], dim=1)
    no_mask = prompts.no_mask_embed.weight[..., None, None]
    pixel_positions = prompts.pe_layer((grid, grid))[None]
    if has_mask.any():
        dense = torch.where(has_mask[:, None, None, None], prompts.mask_downscaling(masks), no_mask)
        pixels = embeddings.repeat_interleave(count, dim=0) + dense
        tokens, pixels = decoder.transformer(pixels, pixel_positions.expand(len(pixels), -1, -1, -1), tokens)
    else:
        pixels, pixel_positions = ((x).flatten(2).transpose(1, 2) for x in (embeddings + no_mask, pixel_positions))
        tokens, pixels = _transform(decoder.transformer, pixels, pixel_positions, tokens)
    features = _upscale(decoder, pixels)
    weights = torch.stack(
        [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)][CANDIDATES], dim=1
    )
    logits = (weights @ features.flatten(1, 3).transpose(1, 2)).unflatten(2, (grid, grid, 2, 2, 2, 2))
    # Row and column of a pixel, of a quarter in it, of a sixteenth in that.
    logits = logits.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)
    return logits.float(), decoder.iou_prediction_head(tokens[:, 0])[:, CANDIDATES].float()


def _transform(
    transformer: TwoWayTransformer, pixels: Tensor, pixel_positions: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Let the tokens of P prompts a picture [B·P,T,256] and its pixels [B,g·g,256] attend to each other.

    Until the first layer has told the pixels of the prompts, they are the same for all of a picture's prompts; their
    projections are made once.
    """
    first, *others = transformer.layers
    positions, pictures = tokens, len(pixels)
    tokens = first.norm1(first.self_attn(tokens, tokens, tokens))
    together = (tokens + positions).unflatten(0, (pictures, -1)).flatten(1, 2)
    seen = first.cross_attn_token_to_image(together, pixels + pixel_positions, pixels)
    tokens = first.norm2(tokens + seen.unflatten(1, (-1, tokens.shape[1])).flatten(0, 1))
    tokens = first.norm3(tokens + first.mlp(tokens))
    pixels = first.norm4(_told(first.cross_attn_image_to_token, pixels, pixel_positions, tokens + positions, tokens))
    for layer in others:
        tokens, pixels = layer(queries=tokens, keys=pixels, query_pe=positions, key_pe=pixel_positions)
    final = transformer.final_attn_token_to_image
    tokens = tokens + final(tokens + positions, pixels + pixel_positions, pixels)
    return transformer.norm_final_attn(tokens), pixels


def _told(attention: Attention, pixels: Tensor, pixel_positions: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return the pixels of each prompt, [B·P,g·g,256], after they attended to its tokens."""
    pictures, heads = len(pixels), attention.num_heads
    q = attention.q_proj(pixels + pixel_positions).unflatten(-1, (heads, -1)).transpose(1, 2)  # [B,heads,g·g,c]
    k = attention.k_proj(keys).unflatten(-1, (heads, -1)).unflatten(0, (pictures, -1))  # [B,P,T,heads,c]
    v = attention.v_proj(values).unflatten(-1, (heads, -1)).transpose(1, 2)  # [B·P,heads,T,c]
    prompts, tokens = k.shape[1:3]
    scores = q @ k.permute(0, 3, 4, 1, 2).flatten(3) / math.sqrt(q.shape[-1])  # [B,heads,g·g,P·T]
    shares = scores.unflatten(-1, (prompts, tokens)).softmax(-1).permute(0, 3, 1, 2, 4).flatten(0, 1)
    mixed = attention.out_proj((shares @ v).transpose(1, 2).flatten(2))
    return (mixed.unflatten(0, (pictures, prompts)) + pixels[:, None]).flatten(0, 1)


def _upscale(decoder: MaskDecoder, pixels: Tensor) -> Tensor:
    """Return features at four times the resolution: [N,g·g,256] → [N,g·g,4,4,32].

    A transposed 2 × 2 convolution of stride 2 is a matrix product, which trains five times faster on a CPU.
    """
    first, norm, activation, second, _ = decoder.output_upscaling
    x = _split_into_quarters(first, pixels)
    x = activation(functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    return activation(_split_into_quarters(second, x))


def _split_into_quarters(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """[…,C] → […,4,C'], the quarters of each pixel row by row."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return functional.linear(x, weight, conv.bias.repeat(4)).unflatten(-1, (4, -1))
