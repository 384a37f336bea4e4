"""Attention between few tokens and many pixels, without keys, values and queries of the pixels.

Projecting a pixel and then multiplying it with a token's key is the same as taking the token's key through the
projection's transpose and multiplying the pixel with that: DeepSeek-AI, "DeepSeek-V2" (arXiv 2405.04434), section
2.1.2, absorb the projections of their latent attention so. With 8 heads of 16 channels a token then costs 8 rows of
256 channels, which is less than projecting 4096 pixels as long as the tokens are few.
"""

import math
from typing import cast

from segment_anything.modeling.transformer import Attention
from torch import Tensor


def attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention of segment_anything's `Attention`, with an additive bias [B,1,1,K] on the scores."""
    q, k, v = (
        _by_head(project(x), -1, attention.num_heads).transpose(1, 2)
        for project, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    )
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    return cast(Tensor, attention.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)))


def negative(attention: Attention, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Return `-attend(attention, q, k, v, bias)`."""
    return -attend(attention, q, k, v, bias)


def absorbed(attention: Attention, query: Tensor, placed: Tensor, pixels: Tensor) -> Tensor:
    """Return `attend(attention, query, placed, pixels)`, with less work where the tokens are few.

    Args:
        attention: of segment_anything.
        query: [B,T,C], tokens.
        placed: [B,P,C], pixels with their positions.
        pixels: [B,P,C].

    Returns:
        [B,T,C].
    """
    heads = attention.num_heads
    q = _by_head(attention.q_proj(query), -1, heads).transpose(1, 2)
    # The bias of the keys adds the same to all scores of a query, so that the softmax cancels it.
    q = q @ _by_head(attention.k_proj.weight, 0, heads) / math.sqrt(q.shape[-1])
    weights = (q.flatten(1, 2) @ placed.transpose(1, 2)).softmax(-1)
    mixed = _by_head(weights @ pixels, 1, heads) @ _by_head(attention.v_proj.weight, 0, heads).transpose(1, 2)
    mixed = mixed + attention.v_proj.bias.view(heads, 1, -1)
    return cast(Tensor, attention.out_proj(mixed.transpose(1, 2).flatten(2)))


def negative_absorbed(attention: Attention, placed: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return `-attend(attention, placed, key, value, bias)`, with less work where the tokens are few.

    Args:
        attention: of segment_anything.
        placed: [B,P,C], pixels with their positions.
        key: [B,T,C], tokens.
        value: [B,T,C], tokens.
        bias: [B,1,1,T], added to the scores.

    Returns:
        [B,P,C].
    """
    heads = attention.num_heads
    k, v = (
        _by_head(project(x), -1, heads).transpose(1, 2)
        for project, x in ((attention.k_proj, key), (attention.v_proj, value))
    )
    k = k / math.sqrt(k.shape[-1])
    offset = k @ attention.q_proj.bias.view(heads, -1, 1) + bias.transpose(-2, -1)
    k = k @ _by_head(attention.q_proj.weight, 0, heads)
    scores = _by_head(k.flatten(1, 2) @ placed.transpose(1, 2), 1, heads) + offset
    # By hand: over another axis than the last, ONNX Runtime's Softmax transposes twice.
    weights = (scores - scores.amax(2, keepdim=True)).exp()
    weights = weights / weights.sum(2, keepdim=True)
    # The weights of each head sum to 1, so each can carry its share of the bias.
    v = -(v @ _by_head(attention.out_proj.weight.t(), 0, heads)) - attention.out_proj.bias / heads
    return cast(Tensor, weights.flatten(1, 2).transpose(1, 2) @ v.flatten(1, 2))


def _by_head(x: Tensor, axis: int, heads: int) -> Tensor:
    """Split an axis into heads and what each has."""
    return cast(Tensor, x.unflatten(axis, (heads, -1)))  # type: ignore[no-untyped-call]
