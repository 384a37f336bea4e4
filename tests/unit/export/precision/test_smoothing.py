import copy

import pytest
import torch

from export.examples import frames
from export.networks.encoder import Encoder
from export.precision.smoothing import smoothed
from models.seeded import QUICKSTART, SMALL, VIT_T, random_sam


def embed(sam, frame):
    with torch.inference_mode():
        return Encoder(sam, "").eval()(*(torch.from_numpy(array) for array in frame))[0]


@pytest.mark.parametrize("architecture", [SMALL, QUICKSTART, pytest.param(VIT_T, marks=pytest.mark.heavy)])
def test_weights_change_but_not_what_is_computed(architecture):
    sam, (frame, *_) = random_sam(architecture), frames(None)
    smooth = smoothed(sam, [frame])
    changed = {
        name.rsplit(".", 2)[-2]
        for (name, one), other in zip(sam.named_parameters(), smooth.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed >= {"qkv", "proj"}
    torch.testing.assert_close(embed(smooth, frame), embed(sam, frame), rtol=1e-3, atol=1e-3)


def test_a_channel_that_towers_above_the_others_is_evened_out():
    sam, (frame, *_) = random_sam(SMALL), frames(None)
    block = sam.image_encoder.blocks[1]
    with torch.no_grad():
        for parameter in (block.norm2.weight, block.norm2.bias):
            parameter[7] *= 40
        block.mlp.lin1.weight[:, 7] /= 40
    inputs = {}
    for name, network in (("before", copy.deepcopy(sam)), ("after", smoothed(sam, [frame]))):
        network.image_encoder.blocks[1].mlp.lin1.register_forward_pre_hook(
            lambda _, args, name=name: inputs.__setitem__(name, args[0].abs().flatten(0, -2).amax(0))
        )
        embed(network, frame)
    towering = {name: float(peaks.max() / peaks.median()) for name, peaks in inputs.items()}
    assert towering["before"] > 20
    assert towering["after"] < 8
