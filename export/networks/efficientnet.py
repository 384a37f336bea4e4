"""The image encoder of the quickstart model: EfficientNet-Lite2 and a neck that makes SAM's embedding of it.

The backbone is that of M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
(arXiv 1905.11946) in the variant Lite2 (https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-
efficientnet-lite.html): ReLU6, no squeeze and excitation. Batch normalisation is folded into the convolutions.

It looks twice. Of the photo at half its size it computes everything: classifiers know things at a few hundred pixels,
not at a thousand. Of the photo at full size it computes the first blocks only, which see edges.
"""

from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

WIDTH = 256  # of the embedding
HEADS = 8
STEM_WIDTH = 32


class Stage(NamedTuple):
    """Blocks of one width: how many, and kernel, stride of the first, expansion."""

    width: int
    depth: int
    kernel: int
    stride: int
    expansion: int


LITE2 = (
    Stage(16, 1, 3, 1, 1),
    Stage(24, 3, 3, 2, 6),
    Stage(48, 3, 5, 2, 6),
    Stage(88, 4, 3, 2, 6),
    Stage(120, 4, 5, 1, 6),
    Stage(208, 5, 5, 2, 6),
    Stage(352, 1, 3, 1, 6),
)
EARLY = 2  # stages that also see the photo at full size


class Conv(nn.Conv2d):
    """A convolution padded as TensorFlow does: at stride 2 of an even size one pixel less at the top and left."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)
        self.before, self.after = (kernel - 2) // 2, (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,H,W] → [B,outputs,H/stride,W/stride]."""
        if self.stride[0] == 2:
            x = functional.pad(x, (self.before, self.after, self.before, self.after))
        return super().forward(x)


class Block(nn.Module):
    """Inverted residual block: expand, depthwise, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Conv(inputs, hidden) if expansion > 1 else None
        self.depthwise = Conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = Conv(hidden, outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,H,W] → [B,outputs,H/stride,W/stride]."""
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = self.project(functional.relu6(self.depthwise(y)))
        return x + y if self.residual else cast(Tensor, y)


class Backbone(nn.Module):
    """EfficientNet-Lite2 without its classifier, on images normalised as SAM's are."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM_WIDTH, 3, 2)
        self.stages = nn.ModuleList()
        inputs = STEM_WIDTH
        for stage in LITE2:
            blocks = []
            for number in range(stage.depth):
                stride = stage.stride if number == 0 else 1
                blocks.append(Block(inputs, stage.width, stage.kernel, stride, stage.expansion))
                inputs = stage.width
            self.stages.append(nn.Sequential(*blocks))

    def early(self, x: Tensor) -> Tensor:
        """[B,3,H,W] → features [B,24,H/4,W/4]."""
        x = functional.relu6(self.stem(x))
        for stage in self.stages[:EARLY]:
            x = stage(x)
        return x

    def late(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Go on from `early`: features [B,48,H/8,W/8], [B,120,H/16,W/16] and [B,352,H/32,W/32]."""
        eighth = self.stages[2](x)
        sixteenth = self.stages[4](self.stages[3](eighth))
        return eighth, sixteenth, self.stages[6](self.stages[5](sixteenth))


class Mixer(nn.Module):
    """ConvNeXt's block (Z. Liu et al., arXiv 2201.03545): a depthwise convolution and an MLP on every pixel."""

    def __init__(self, kernel: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(WIDTH, WIDTH, kernel, padding=kernel // 2, groups=WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, expansion * WIDTH)
        self.fc2 = nn.Linear(expansion * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] → [B,C,H,W]."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + cast(Tensor, self.fc2(functional.gelu(self.fc1(y)))).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """All pixels attend to all; where they are, a depthwise convolution before it tells (arXiv 2102.10882)."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] → [B,C,H,W]."""
        x = x + self.position(x)
        tokens = self.norm(x.permute(0, 2, 3, 1)).flatten(1, 2)
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, -1))
        scores = q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5
        mixed = self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return x + cast(Tensor, mixed).transpose(1, 2).reshape(x.shape)


class Neck(nn.Module):
    """Merges features from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral32 = nn.Conv2d(352, WIDTH, 1)
        self.lateral16 = nn.Conv2d(120, WIDTH, 1)
        self.lateral8 = nn.Conv2d(48, WIDTH, 1)
        self.lateral4 = nn.Conv2d(24 * 4, WIDTH, 1, bias=False)
        self.detail = nn.Conv2d(24 * 16, WIDTH, 1, bias=False)
        self.coarse = nn.Sequential(Attention(), Mixer(3, 4), Attention(), Mixer(3, 4))
        self.middle = Mixer(5, 4)
        self.fine = nn.Sequential(Mixer(7, 2), Mixer(7, 2))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, fourth: Tensor, eighth: Tensor, sixteenth: Tensor, last: Tensor, detail: Tensor) -> Tensor:
        """Features of the small photo at strides 4 to 32 and of the large at 4 → [B,256,S/16,S/16]."""
        x = self.coarse(self.lateral32(last))
        x = self.middle(self.lateral16(sixteenth) + _double(x))
        x = _double(x) + self.lateral8(eighth) + self.lateral4(functional.pixel_unshuffle(fourth, 2))
        x = x + self.detail(functional.pixel_unshuffle(detail, 4))
        return cast(Tensor, self.norm(self.fine(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class LiteEncoder(nn.Module):
    """The image encoder; nothing in it depends on the resolution.

    `img_size` is only what `segment_anything`'s classes expect an encoder to tell about itself.
    """

    def __init__(self, img_size: int = 1024) -> None:
        super().__init__()
        self.img_size = img_size
        self.backbone = Backbone()
        self.neck = Neck()

    def forward(self, x: Tensor) -> Tensor:
        """Embed normalised images: float32 [B,3,S,S] → float32 [B,256,S/16,S/16], S divisible by 64."""
        fourth = self.backbone.early(functional.avg_pool2d(x, 2))
        return cast(Tensor, self.neck(fourth, *self.backbone.late(fourth), self.backbone.early(x)))


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear")
