"""SAM's network on batches of pictures with several prompts each, at any resolution divisible by 64.

The modules are those of `export`, the composition is `segment_anything`'s; it is written out here because theirs
takes one picture at a time, and the exported graph holds its weights as constants.
"""

import torch
from segment_anything.modeling import MaskDecoder, Sam
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
    if has_mask.any():
        dense = torch.where(has_mask[:, None, None, None], prompts.mask_downscaling(masks), no_mask)
    else:
        dense = no_mask
    pixels = embeddings.repeat_interleave(count, dim=0) + dense
    pixel_positions = prompts.pe_layer((grid, grid))[None].expand(len(pixels), -1, -1, -1)
    tokens, pixels = decoder.transformer(pixels, pixel_positions, tokens)
    features = _upscale(decoder, pixels)
    weights = torch.stack(
        [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)][CANDIDATES], dim=1
    )
    logits = (weights @ features.flatten(1, 3).transpose(1, 2)).unflatten(2, (grid, grid, 2, 2, 2, 2))
    # Row and column of a pixel, of a quarter in it, of a sixteenth in that.
    logits = logits.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)
    return logits.float(), decoder.iou_prediction_head(tokens[:, 0])[:, CANDIDATES].float()


def sharpen(sam: Sam, factor: float) -> None:
    """Multiply the queries with which tokens attend to pixels.

    The more pixels there are, the flatter a softmax over them; this makes up for it when weights of a small
    resolution go on at a larger one.
    """
    transformer = sam.mask_decoder.transformer
    attentions = [layer.cross_attn_token_to_image for layer in transformer.layers]
    with torch.no_grad():
        for attention in [*attentions, transformer.final_attn_token_to_image]:
            attention.q_proj.weight *= factor
            attention.q_proj.bias *= factor


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
