import copy

import numpy as np
import pytest
import torch

from export.errors import Disagreement
from export.verification import mask_iou, verify


@pytest.fixture
def altered(small_sam):
    """Another network than the one exported, to be changed at will."""
    return copy.deepcopy(small_sam)


def check(sam, exported, identity=None):
    graphs = exported.graph("sam_encoder"), exported.graph("sam_decoder")
    verify(sam, *graphs, identity or exported.publication.identity)


def test_what_was_exported_agrees(small_sam, exported):
    check(small_sam, exported)


def test_another_encoder_is_refused(altered, exported):
    with torch.no_grad():
        altered.image_encoder.blocks[3].attn.rel_pos_h[60:67] += 0.5
    with pytest.raises(Disagreement, match=r"encoder's embedding differs from PyTorch's by 0\.\d+ of its size"):
        check(altered, exported)


def test_another_mask_prompt_encoder_is_refused(altered, exported):
    with torch.no_grad():
        altered.prompt_encoder.mask_downscaling[6].weight *= 1.5
    with pytest.raises(Disagreement, match=r"masks for a mask.* to an IoU of 0\.\d+; at least 0\.999 is needed"):
        check(altered, exported)


def test_another_box_corner_is_refused(altered, exported):
    with torch.no_grad():
        altered.prompt_encoder.point_embeddings[3].weight += 0.3
    with pytest.raises(Disagreement, match="masks for a box"):
        check(altered, exported)


def test_other_scores_are_refused(altered, exported):
    with torch.no_grad():
        altered.mask_decoder.iou_prediction_head.layers[-1].bias += 0.002
    with pytest.raises(Disagreement, match=r"scores for .* differ from PyTorch's by 0\.002; at most 0\.001"):
        check(altered, exported)


def test_another_identity_is_refused(small_sam, exported):
    with pytest.raises(Disagreement, match="does not answer with its identity"):
        check(small_sam, exported, identity="vit_b/fp32/0000000000000000")


def test_values_that_are_not_finite_agree_with_nothing():
    mask = np.ones((1, 4, 4), np.float32)
    assert mask_iou(mask, mask) == 1
    assert mask_iou(mask, mask * np.nan) == 0
    assert mask_iou(mask * np.inf, mask * np.inf) == 0


def test_one_wrong_candidate_of_three_counts():
    masks = np.ones((3, 4, 4), np.float32)
    other = masks.copy()
    other[1, :2] = -1
    assert mask_iou(masks, other) == 0.5
