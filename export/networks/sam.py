"""SAM networks in PyTorch, from segment_anything's own classes."""

from dataclasses import dataclass
from functools import partial

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from export.networks.efficientnet import LiteEncoder
from export.networks.tiny_vit import TinyViT

IMAGE_SIZE = 1024
PATCH_SIZE = 16
GRID = IMAGE_SIZE // PATCH_SIZE
WIDTH = 256  # of image embeddings and tokens
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class ViT:
    """The shape of one of SAM's plain vision transformers."""

    embed_dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int = 14

    def __str__(self) -> str:
        """Return the variant's name: SAM's own where it has one."""
        return _NAMES.get(self, f"vit_{self.embed_dim}x{self.depth}")

    def build(self) -> nn.Module:
        """Return the image encoder with untrained weights."""
        return ImageEncoderViT(  # type: ignore[no-any-return]
            depth=self.depth,
            embed_dim=self.embed_dim,
            img_size=IMAGE_SIZE,
            mlp_ratio=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=self.heads,
            patch_size=PATCH_SIZE,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=self.global_blocks,
            window_size=self.window,
            out_chans=WIDTH,
        )


@dataclass(frozen=True)
class MobileViT:
    """MobileSAM's TinyViT, which has one shape only."""

    def __str__(self) -> str:
        """Return the variant's name."""
        return "vit_t"

    def build(self) -> nn.Module:
        """Return the image encoder with untrained weights."""
        return TinyViT(IMAGE_SIZE)


@dataclass(frozen=True)
class Lite:
    """The encoder of the model that ships, which has one shape only."""

    def __str__(self) -> str:
        """Return the variant's name."""
        return "quickstart"

    def build(self) -> nn.Module:
        """Return the image encoder with untrained weights."""
        return LiteEncoder(IMAGE_SIZE)


Architecture = ViT | MobileViT | Lite

VIT_B = ViT(768, 12, 12, (2, 5, 8, 11))
VIT_L = ViT(1024, 24, 16, (5, 11, 17, 23))
VIT_H = ViT(1280, 32, 16, (7, 15, 23, 31))
VIT_T = MobileViT()
QUICKSTART = Lite()
_NAMES = {VIT_B: "vit_b", VIT_L: "vit_l", VIT_H: "vit_h"}


def build(architecture: Architecture) -> Sam:
    """Return the whole network with untrained weights, in evaluation mode."""
    sam = Sam(
        image_encoder=architecture.build(),
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH,
            image_embedding_size=(GRID, GRID),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8),
            transformer_dim=WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )
    return sam.eval()
