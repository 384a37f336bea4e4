import torch
from torch import Tensor

from export.networks.efficientnet import LITE2
from models.quickstart.pretrained import backbone


def weights_of_the_package() -> dict[str, Tensor]:
    """Random weights under the names that the package gives them."""
    generator = torch.Generator().manual_seed(0)
    weights = {}

    def add(conv: str, norm: str, *shape: int) -> None:
        weights[f"{conv}.weight"] = torch.randn(shape, generator=generator) * (2 / shape[1] / shape[2] ** 2) ** 0.5
        for name in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{norm}.{name}"] = torch.rand(shape[0], generator=generator) + 0.5

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    inputs, number = 32, 0
    for stage in LITE2:
        for _ in range(stage.depth):
            hidden, block = inputs * stage.expansion, f"_blocks.{number}"
            if stage.expansion > 1:
                add(f"{block}._expand_conv", f"{block}._bn0", hidden, inputs, 1, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", hidden, 1, stage.kernel, stage.kernel)
            add(f"{block}._project_conv", f"{block}._bn2", stage.width, hidden, 1, 1)
            inputs, number = stage.width, number + 1
    return weights


@torch.inference_mode()
def test_the_stem_sees_pixels_as_it_was_trained_to() -> None:
    weights = weights_of_the_package()
    stem = backbone(weights).stem
    pixels = torch.randint(0, 256, (1, 3, 16, 16)).float()
    raw = torch.nn.functional.conv2d((pixels - 127) / 128, weights["_conv_stem.weight"], stride=2)
    mean, variance = weights["_bn0.running_mean"], weights["_bn0.running_var"]
    norm = weights["_bn0.weight"], weights["_bn0.bias"]
    expected = torch.nn.functional.batch_norm(raw, mean, variance, *norm, eps=1e-3)
    as_sam = (pixels - torch.tensor([123.675, 116.28, 103.53])[:, None, None]) / torch.tensor([58.395, 57.12, 57.375])[
        :, None, None
    ]
    torch.testing.assert_close(stem(as_sam)[..., :7, :7], expected, rtol=1e-3, atol=1e-3)
