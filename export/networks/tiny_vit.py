"""The image encoder of MobileSAM, a TinyViT, for training and for export.

Written anew after K. Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers"
(arXiv 2207.10666) in the variant of C. Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for
Mobile Applications" (arXiv 2306.14289): the last downsampling keeps its resolution, and SAM's neck follows.
Parameters carry the names of MobileSAM's `mobile_sam.pt`, without the classifier (`norm_head`, `head`) that
SAM never uses.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import cast

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDES = (2, 2, 1)  # of the downsampling after each of the first three stages


class ConvNorm(nn.Sequential):
    """A convolution without bias followed by batch normalisation, size-preserving at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(OrderedDict(c=conv, bn=nn.BatchNorm2d(outputs)))


class PatchEmbed(nn.Module):
    """RGB image → features at a quarter of its resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,H,W] → [B,width,H/4,W/4]."""
        return cast(Tensor, self.seq(x))


class MBConv(nn.Module):
    """Inverted residual block: expand fourfold, depthwise 3 × 3, project."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.conv1 = ConvNorm(width, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, width)
        # Starting as the identity is what TinyViT trains from.
        nn.init.zeros_(cast(nn.BatchNorm2d, self.conv3.bn).weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] → [B,C,H,W]."""
        return functional.gelu(x + self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x))))))


class PatchMerging(nn.Module):
    """Changes the width and, at stride 2, halves the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,H,W] → [B,outputs,H/stride,W/stride]."""
        return cast(Tensor, self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x))))))


class Attention(nn.Module):
    """Multi-head self-attention inside one window, with a learnt bias per distance."""

    attention_bias_idxs: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        y, x = y.flatten(), x.flatten()
        distance = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("attention_bias_idxs", distance, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[windows,tokens,C] → [windows,tokens,C]."""
        windows, tokens, width = x.shape
        # The checkpoint interleaves q, k and v head by head.
        qkv = self.qkv(self.norm(x)).view(windows, tokens, self.heads, 3, width // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        scores = q * (width // self.heads) ** -0.5 @ k.transpose(-2, -1)
        scores = scores + self.attention_biases[:, self.attention_bias_idxs]
        mixed = scores.softmax(-1) @ v
        return cast(Tensor, self.proj(mixed.transpose(1, 2).reshape(windows, tokens, width)))


class Mlp(nn.Module):
    """Normalisation and two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[…,C] → […,C]."""
        return cast(Tensor, self.fc2(functional.gelu(self.fc1(self.norm(x)))))


class TinyViTBlock(nn.Module):
    """Windowed attention, a depthwise convolution that joins the windows, and an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(width, heads, window)
        self.mlp = Mlp(width)
        self.local_conv = ConvNorm(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] → [B,C,H,W]."""
        x = x + self._attend(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.local_conv(x)
        return x + cast(Tensor, self.mlp(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        """[B,H,W,C] → [B,H,W,C]; a border that fills no window is padded with zeros, which are attended to."""
        _, height, width, channels = x.shape
        w = self.window
        x = functional.pad(x, (0, 0, 0, -width % w, 0, -height % w))
        rows, columns = x.shape[1] // w, x.shape[2] // w
        x = x.reshape(-1, rows, w, columns, w, channels).transpose(2, 3).reshape(-1, w * w, channels)
        x = self.attn(x)
        x = x.view(-1, rows, columns, w, w, channels).transpose(2, 3).reshape(-1, rows * w, columns * w, channels)
        return x[:, :height, :width]


class Stage(nn.Module):
    """Blocks of one resolution, and the downsampling after them if another stage follows."""

    def __init__(self, blocks: Iterable[nn.Module], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] → [B,C',H/stride,W/stride]."""
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """MobileSAM's image encoder.

    Nothing in it depends on the resolution, so one set of weights works for every size divisible by 16;
    `img_size` is only what `segment_anything`'s classes expect an encoder to tell about itself.
    """

    def __init__(self, img_size: int = 1024) -> None:
        super().__init__()
        self.img_size = img_size
        self.patch_embed = PatchEmbed(WIDTHS[0])
        stages = []
        for i, (width, depth, heads, window) in enumerate(zip(WIDTHS, DEPTHS, HEADS, WINDOWS, strict=True)):
            blocks = [MBConv(width) if i == 0 else TinyViTBlock(width, heads, window) for _ in range(depth)]
            last = i == len(WIDTHS) - 1
            stages.append(Stage(blocks, None if last else PatchMerging(width, WIDTHS[i + 1], STRIDES[i])))
        self.layers = nn.Sequential(*stages)
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embed normalised images: float32 [B,3,S,S] → float32 [B,256,S/16,S/16]."""
        return cast(Tensor, self.neck(self.layers(self.patch_embed(x))))
