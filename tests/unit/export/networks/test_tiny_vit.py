import hashlib

import pytest
import torch

from export.networks.tiny_vit import TinyViT

# Of the sorted "name shape" lines of image_encoder.* in MobileSAM's checkpoint, without its classifier.
MOBILE_SAM_NAMES = "5b822631a33cfbe892046af9434d8cbb52a85353338cce20674f2e2a893e8304"


def test_the_parameters_are_named_and_shaped_as_in_mobilesam():
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in TinyViT().state_dict().items())
    assert len(lines) == 298
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == MOBILE_SAM_NAMES


def set_waves(network):
    """Give every weight a value that a formula fixes, so that another implementation can be given the same."""
    for number, (name, tensor) in enumerate(sorted(network.state_dict().items())):
        if not tensor.is_floating_point():
            continue
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 1.7 + number).view(tensor.shape)
        if name.endswith(("bn.weight", "running_var", "norm.weight")):
            wave = 1 + 0.5 * wave
        elif tensor.dim() > 1 and not name.endswith("attention_biases"):
            wave = wave * (3 / tensor[0].numel()) ** 0.5
        tensor.copy_(wave)


def test_the_stages_compute_what_another_implementation_computes():
    # The numbers are those of timm 1.0.31's `TinyVit` of these widths, its last downsampling at stride 1.
    network = TinyViT().eval()
    with torch.inference_mode():
        set_waves(network)
        image = torch.sin(torch.arange(3 * 192 * 192, dtype=torch.float64) * 0.37).float().view(1, 3, 192, 192)
        features = network.layers(network.patch_embed(image))
    assert features.shape == (1, 320, 12, 12)
    expected = torch.tensor([10041.998, 372.4404, -470.8156, -9221.5361, -1080.9255])
    torch.testing.assert_close(features[0, ::64, 5, 7], expected, rtol=1e-3, atol=1.0)
    assert features.std().item() == pytest.approx(8442.111, rel=1e-4)


def test_it_trains_at_any_size_divisible_by_64():
    network = TinyViT().train()
    for size in (192, 256):
        embedding = network(torch.randn(2, 3, size, size))
        assert embedding.shape == (2, 256, size // 16, size // 16)
    embedding.square().mean().backward()
    unmoved = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert unmoved == []
