"""Making activations easy to round to 8 bits, without changing what the network computes.

Some channels of a transformer's activations are far larger than all others, and one scale for all of them leaves few
steps for the rest. G. Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
Models" (arXiv 2211.10438), divide every channel by a factor and multiply the weights that read it by the same. The
division costs nothing where it can be part of what comes before: of the normalisation before a linear layer, and for
the projection after attention, of the layer that makes the values.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn

from export.examples import Frame
from export.networks import efficientnet
from export.networks.encoder import Encoder
from export.networks.tiny_vit import TinyViTBlock

_SHARE = 0.5  # of the unevenness moves from the activations to the weights


@dataclass(frozen=True)
class _Reader:
    """A linear layer, and what makes its input: parameters with an output channel for each of its input channels."""

    linear: nn.Linear
    makers: Sequence[Tensor]
    rows: Tensor  # those of the makers that are these channels


def smoothed(sam: Sam, frames: Sequence[Frame]) -> Sam:
    """Return a network that computes what `sam` does, its image encoder's activations evened out on such pictures."""
    sam = copy.deepcopy(sam)
    readers = [reader for block in sam.image_encoder.modules() for reader in _readers(block)]
    peaks = _input_peaks(sam, [reader.linear for reader in readers], frames)
    with torch.no_grad():
        for reader, peak in zip(readers, peaks, strict=True):
            weight = reader.linear.weight
            factor = peak.clamp(1e-5) ** _SHARE / weight.abs().amax(0).clamp(1e-5) ** (1 - _SHARE)
            weight *= factor
            for maker in reader.makers:
                maker[reader.rows] /= factor.view(-1, *[1] * (maker.dim() - 1))
    return sam


def _readers(block: nn.Module) -> Iterator[_Reader]:
    if isinstance(block, Block):
        yield from _of_attention(block.attn, block.norm1)
        yield _after_norm(block.mlp.lin1, block.norm2)
    elif isinstance(block, TinyViTBlock):
        yield from _of_attention(block.attn, block.attn.norm, interleaved=True)
        yield _after_norm(block.mlp.fc1, block.mlp.norm)
    elif isinstance(block, efficientnet.Attention):
        yield from _of_attention(block, block.norm)
    elif isinstance(block, efficientnet.Mixer):
        yield _after_norm(block.fc1, block.norm)


def _after_norm(linear: nn.Linear, norm: nn.LayerNorm) -> _Reader:
    return _Reader(linear, (norm.weight, norm.bias), torch.arange(linear.in_features))


def _of_attention(attention: nn.Module, norm: nn.LayerNorm, *, interleaved: bool = False) -> Iterator[_Reader]:
    """Yield the readers of an attention; TinyViT's interleaves queries, keys and values head by head."""
    qkv, proj = cast(nn.Linear, attention.qkv), cast(nn.Linear, attention.proj)
    width = proj.in_features
    values = 2 * width + torch.arange(width)
    if interleaved:
        values = torch.arange(3 * width).view(cast(int, attention.heads), 3, -1)[:, 2].flatten()
    yield _after_norm(qkv, norm)
    yield _Reader(proj, (qkv.weight, qkv.bias), values)


def _input_peaks(sam: Sam, linears: Sequence[nn.Linear], frames: Sequence[Frame]) -> list[Tensor]:
    """Return the largest magnitude in each input channel of the layers, over all pictures."""
    peaks = [torch.zeros(linear.in_features) for linear in linears]

    def watch(peak: Tensor, linear: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            torch.maximum(peak, inputs[0].abs().flatten(0, -2).amax(0), out=peak)

        return linear.register_forward_pre_hook(note)

    hooks = [watch(peak, linear) for peak, linear in zip(peaks, linears, strict=True)]
    encoder = Encoder(sam, "").eval()
    with torch.inference_mode():
        for image, size in frames:
            encoder(torch.from_numpy(image), torch.from_numpy(size))
    for hook in hooks:
        hook.remove()
    return peaks
