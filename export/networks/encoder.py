"""The graph that turns a resized image into an embedding."""

from typing import cast

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from export.networks.efficientnet import LiteEncoder
from export.networks.identity import IdentityConstant
from export.networks.norm import ChannelNorm
from export.networks.sam import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from export.networks.vit import FoldedViT


class Encoder(nn.Module):
    """SAM's preprocessing and image encoder, from bytes to embedding."""

    mean: Tensor
    std: Tensor

    def __init__(self, sam: Sam, identity: str) -> None:
        super().__init__()
        self.network = _for_export(sam.image_encoder)
        self.identity = IdentityConstant(identity)
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN))
        self.register_buffer("std", torch.tensor(PIXEL_STD))

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor]:
        """Embed images.

        Args:
            image: uint8 [B,1024,1024,3], RGB, the resized photo in the top left corner.
            image_size: int32 [B,2], height and width of the resized photo in pixels; what lies outside is ignored.

        Returns:
            embeddings float32 [B,256,64,64] and identity uint8 [B,64].
        """
        height, width = image_size[:, 0].view(-1, 1, 1, 1), image_size[:, 1].view(-1, 1, 1, 1)
        position = torch.arange(IMAGE_SIZE, dtype=torch.int32)
        inside = (position.view(1, -1, 1, 1) < height) & (position.view(1, 1, -1, 1) < width)
        # SAM pads after normalising, so outside is 0, not the normalised black.
        x = torch.where(inside, (image.float() - self.mean) / self.std, torch.zeros(()))
        embeddings = self.network(x.permute(0, 3, 1, 2))
        return cast(Tensor, embeddings), self.identity(image)


def _for_export(encoder: nn.Module) -> nn.Module:
    """Return what computes the same and is made for export."""
    if isinstance(encoder, LiteEncoder):
        return encoder
    trunk = [FoldedViT(encoder)] if isinstance(encoder, ImageEncoderViT) else [encoder.patch_embed, encoder.layers]
    neck = [
        ChannelNorm(layer) if isinstance(layer, LayerNorm2d) else layer for layer in cast(nn.Sequential, encoder.neck)
    ]
    return nn.Sequential(*trunk, *neck)
