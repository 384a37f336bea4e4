import warnings

import numpy as np
import pytest
import torch
from torch import nn

from export.graphs import encoder_graph, save
from export.networks.efficientnet import Backbone, Conv, LiteEncoder
from export.networks.sam import QUICKSTART
from export.verification import open_graph
from models.seeded import random_sam


@pytest.fixture(scope="module")
def reference():
    """Timm's EfficientNet-Lite2 with random weights and statistics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm

        network = timm.create_model("tf_efficientnet_lite2", features_only=True)
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.4)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


@torch.inference_mode()
def test_the_backbone_computes_what_timms_computes(reference):
    backbone = Backbone()
    modules = list(reference.modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    ours = [module for module in backbone.modules() if isinstance(module, Conv)]
    for mine, theirs, norm in zip(ours, convolutions, norms, strict=True):
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mine.weight.copy_(theirs.weight * scale[:, None, None, None])
        mine.bias.copy_(norm.bias - norm.running_mean * scale)
    image = torch.randn(1, 3, 128, 192)
    fourth = backbone.early(image)
    for actual, expected in zip((fourth, *backbone.late(fourth)), reference(image)[1:], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=5e-3)


def test_the_exported_encoder_computes_what_pytorch_computes(astronaut, tmp_path):
    sam = random_sam(QUICKSTART)
    save(encoder_graph(sam, "identity", {}), tmp_path / "encoder.onnx")
    frame = np.zeros((1, 1024, 1024, 3), np.uint8)
    frame[0, :512, :384] = astronaut[:512, :384]
    size = np.array([[512, 384]], np.int32)
    embedding = open_graph(tmp_path / "encoder.onnx").run(["image_embeddings"], {"image": frame, "image_size": size})[0]
    with torch.inference_mode():
        expected = sam.image_encoder(sam.preprocess(torch.from_numpy(frame[:, :512, :384]).permute(0, 3, 1, 2).float()))
    np.testing.assert_allclose(embedding, expected.numpy(), rtol=1e-3, atol=2e-3)


def test_it_trains_at_any_size_divisible_by_64():
    network = LiteEncoder().train()
    for size in (128, 192):
        embedding = network(torch.randn(2, 3, size, size))
        assert embedding.shape == (2, 256, size // 16, size // 16)
    embedding.square().mean().backward()
    unmoved = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert unmoved == []
