from pathlib import Path

import numpy as np
import pytest
import torch

from export.networks.sam import QUICKSTART, build
from models.quickstart import network
from models.quickstart.prompts import FOREGROUND, NOT_A_POINT
from models.quickstart.rounds import corrective_click, descend, further_click
from models.quickstart.samples import Samples, join


def test_a_corrective_click_goes_into_the_mistake_and_tells_its_kind() -> None:
    answer = torch.zeros(2, 16, 16)
    answer[:, 4:12, 4:12] = 1
    logits = torch.full((2, 16, 16), -5.0)
    logits[0, 4:12, 4:8] = 5  # lacks the right half
    logits[1, 4:12, 4:16] = 5  # has too much on the right
    coords, labels = corrective_click(logits, answer, np.random.default_rng(0))
    assert labels.tolist() == [[1], [0]]
    column, row = coords[0, 0] / 4
    assert 8 <= column < 12
    assert 4 <= row < 12
    column, row = coords[1, 0] / 4
    assert 12 <= column < 16
    assert 4 <= row < 12


def test_a_further_click_lies_inside_or_beside_the_object_and_tells_which() -> None:
    answer = torch.zeros(40, 32, 32)
    answer[:, 10:20, 12:24] = 1
    coords, labels = further_click(answer, np.random.default_rng(0))
    columns, rows = (coords[:, 0] / 4).long().unbind(1)
    assert torch.equal(answer[torch.arange(40), rows, columns], labels[:, 0].float())
    assert 8 < labels.sum() < 32


def test_one_step_moves_every_weight_that_is_not_frozen(scenes: Path) -> None:
    torch.manual_seed(0)
    sam = build(QUICKSTART).train()
    stream = iter(Samples(scenes, 64, 2, seed=[0]))
    batch = join([next(stream), next(stream)]).read()
    loss, figures = descend(sam, batch, np.random.default_rng(1))
    loss.backward()
    assert loss.isfinite()
    assert all(0 <= value <= 1 for value in figures.values())
    for name, weight in sam.image_encoder.named_parameters():
        assert weight.grad is not None, name


@pytest.mark.parametrize("brought", [(False, True, False, True), (False,) * 4], ids=["some masks", "no masks"])
def test_batched_decoding_is_that_of_segment_anything(brought: tuple[bool, ...]) -> None:
    torch.manual_seed(0)
    sam = build(QUICKSTART)
    sam.prompt_encoder.image_embedding_size, sam.prompt_encoder.input_image_size = (16, 16), (256, 256)
    embeddings = torch.randn(2, 256, 16, 16)
    coords = torch.rand(4, 2, 2) * 250
    labels = torch.tensor([[FOREGROUND, NOT_A_POINT]] * 4)
    masks, has_mask = torch.randn(4, 1, 64, 64), torch.tensor(brought)
    with torch.inference_mode():
        logits, scores = network.decode(sam, embeddings, coords, labels, masks, has_mask)
        for i in range(4):
            sparse, dense = sam.prompt_encoder(
                (coords[i, None, :1], labels[i, None, :1]), None, masks[i, None] if has_mask[i] else None
            )
            expected, expected_scores = sam.mask_decoder(
                embeddings[i // 2, None], sam.prompt_encoder.get_dense_pe(), sparse, dense, True
            )
            torch.testing.assert_close(logits[i], expected[0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(scores[i], expected_scores[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(128, 96), (70, 128)])
def test_pictures_are_padded_with_zeros_after_normalising(shape: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    height, width = shape
    images[:, height:], images[:, :, width:] = 0, 0
    x = network.preprocess(images, torch.tensor([shape]))
    sam = build(QUICKSTART)
    expected = (images[0, :height, :width].permute(2, 0, 1).float() - sam.pixel_mean) / sam.pixel_std
    torch.testing.assert_close(x[0, :, :height, :width], expected)
    assert not x[0, :, height:].any()
    assert not x[0, :, :, width:].any()
