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

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn

from export.examples import Frame
from export.networks.encoder import Encoder
from export.networks.tiny_vit import TinyViTBlock

_SHARE = 0.5  # of the unevenness moves from the activations to the weights


@dataclass(frozen=True)
class _Reader:
    """A linear layer, and what makes its input: parameters with an output channel for each of its input channels."""

    linear: nn.Linear
    makers: Sequence[nn.Parameter]
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
        attention, norms = block.attn, (block.norm1, block.norm2)
        first = block.mlp.lin1
    elif isinstance(block, TinyViTBlock):
        attention, norms = block.attn, (block.attn.norm, block.mlp.norm)
        first = block.mlp.fc1
    else:
        return
    width = attention.proj.in_features
    channels = torch.arange(width)
    # In what makes queries, keys and values; TinyViT interleaves these head by head.
    values = 2 * width + channels
    if isinstance(block, TinyViTBlock):
        values = torch.arange(3 * width).view(attention.heads, 3, -1)[:, 2].flatten()
    yield _Reader(attention.qkv, (norms[0].weight, norms[0].bias), channels)
    yield _Reader(attention.proj, (attention.qkv.weight, attention.qkv.bias), values)
    yield _Reader(first, (norms[1].weight, norms[1].bias), channels)


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
