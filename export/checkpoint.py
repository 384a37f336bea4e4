"""SAM checkpoints: reading them, recognising what they are, and naming them beyond doubt."""

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from export.errors import UnusableCheckpoint
from export.metadata import FORMAT_VERSION
from export.networks.sam import GRID, QUICKSTART, VIT_T, Architecture, ViT, build

Tensors = Mapping[str, Tensor]

# MobileSAM's published file carries the classifier that its encoder was distilled with; SAM never runs it.
_CLASSIFIER = re.compile(r"image_encoder\.(norm_head|head)\.")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded SAM checkpoint.

    Attributes:
        architecture: what its tensors are the weights of; its name is `str(architecture)`.
        digest: 16 hexadecimal digits that change with any weight and with the export's format.
        sam: the network, float32, in evaluation mode.
    """

    architecture: Architecture
    digest: str
    sam: Sam

    def identity(self, precision: str) -> str:
        """Return what both graphs of an export say they are, at most 64 bytes of UTF-8."""
        return f"{self.architecture}/{precision}/{self.digest}"


def load(path: Path) -> Checkpoint:
    """Read a `.pth` file holding the plain state dict of a SAM network in any floating-point type.

    Raises:
        UnusableCheckpoint: if it is anything else.
    """
    tensors = _read(path)
    architecture = recognise(tensors, path)
    return Checkpoint(architecture, _digest(tensors), _assemble(architecture, tensors, path))


def _read(path: Path) -> Tensors:
    if path.is_dir():
        raise UnusableCheckpoint(f"{path} is a directory; give the .pth file of a SAM checkpoint.")
    if not path.exists():
        raise UnusableCheckpoint(f"There is no file {path}; give the .pth file of a SAM checkpoint.")
    try:
        with warnings.catch_warnings():
            # Its remarks on unusual pickles add nothing to whether the file can be used.
            warnings.simplefilter("ignore", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UnusableCheckpoint(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # there is no kind that bytes which are no pickle have not made it raise
        raise UnusableCheckpoint(
            f"{path} is truncated or no PyTorch checkpoint of plain tensors; "
            "compare its size and SHA-256 with those published, and download it again."
        ) from error
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UnusableCheckpoint(f"{path} holds no plain state dict of tensors, so it is no SAM checkpoint.")
    return state


def recognise(tensors: Tensors, path: Path) -> Architecture:
    """Tell the architecture from names and shapes alone: file names lie.

    Raises:
        UnusableCheckpoint: if these are no SAM's tensors or the image encoder is of an unknown kind.
    """
    if "mask_decoder.iou_token.weight" not in tensors:
        raise UnusableCheckpoint(f"{path} is no SAM checkpoint: it has no mask decoder.")
    if "image_encoder.patch_embed.seq.0.c.weight" in tensors:
        return VIT_T
    if "image_encoder.backbone.stem.weight" in tensors:
        return QUICKSTART
    try:
        embed_dim = tensors["image_encoder.patch_embed.proj.weight"].shape[0]
        spans = {}  # block → number of positions along an axis that its attention sees
        for name, tensor in tensors.items():
            if match := re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h", name):
                spans[int(match[1])] = (tensor.shape[0] + 1) // 2
                heads = embed_dim // tensor.shape[1]
        global_blocks = tuple(sorted(block for block, span in spans.items() if span == GRID))
        (window,) = {span for span in spans.values() if span != GRID} or {0}
        return ViT(embed_dim, len(spans), heads, global_blocks, window)
    except (KeyError, IndexError, ValueError, UnboundLocalError, ZeroDivisionError) as error:
        raise UnusableCheckpoint(
            f"{path} has SAM's mask decoder but an image encoder of an unknown architecture; "
            "vit_h, vit_l, vit_b, vit_t (MobileSAM) and quickstart are known."
        ) from error


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256(f"imgr export {FORMAT_VERSION}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _assemble(architecture: Architecture, tensors: Tensors, path: Path) -> Sam:
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if not _CLASSIFIER.match(name)
    }
    sam = build(architecture)
    expected = sam.state_dict()
    strange = [
        *(f"lacks {name}" for name in expected if name not in weights),
        *(f"has an unknown {name}" for name in weights if name not in expected),
        *(
            f"has {name} in shape {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ),
    ]
    if strange:
        raise UnusableCheckpoint(
            f"{path} looks like a SAM {architecture} but {strange[0]}"
            + (f" (and {len(strange) - 1} more differences)" if len(strange) > 1 else "")
            + "; its architecture is unknown."
        )
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UnusableCheckpoint(f"{path} is damaged: {name} holds values that are not finite.")
    sam.load_state_dict(weights, assign=True)
    return sam
