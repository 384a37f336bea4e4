import numpy as np
import pytest
import torch

from export.networks.sam import VIT_T, build
from models.quickstart import network
from models.quickstart.prompts import FOREGROUND, NOT_A_POINT
from models.quickstart.rounds import corrective_click, descend
from models.quickstart.samples import Samples, join
from models.quickstart.scenes import Material


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


def test_one_step_moves_every_weight_it_should(material: Material) -> None:
    torch.manual_seed(0)
    sam = build(VIT_T).train()
    stream = iter(Samples(material, 64, 2, seed=[0]))
    batch = join([next(stream), next(stream)]).on("cpu")
    loss, true_iou, scores = descend(sam, sam.image_encoder, batch, np.random.default_rng(1))
    loss.backward()
    assert loss.isfinite()
    assert true_iou.shape == scores.shape == (4, 3)
    for name, weight in sam.image_encoder.named_parameters():
        assert weight.grad is not None, name


def test_batched_decoding_is_that_of_segment_anything() -> None:
    torch.manual_seed(0)
    sam = build(VIT_T)
    sam.prompt_encoder.image_embedding_size, sam.prompt_encoder.input_image_size = (16, 16), (256, 256)
    embeddings = torch.randn(2, 256, 16, 16)
    coords = torch.rand(4, 2, 2) * 250
    labels = torch.tensor([[FOREGROUND, NOT_A_POINT]] * 4)
    masks, has_mask = torch.randn(4, 1, 64, 64), torch.tensor([False, True, False, True])
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
    sam = build(VIT_T)
    expected = (images[0, :height, :width].permute(2, 0, 1).float() - sam.pixel_mean) / sam.pixel_std
    torch.testing.assert_close(x[0, :, :height, :width], expected)
    assert not x[0, :, height:].any()
    assert not x[0, :, :, width:].any()


def test_sharpening_multiplies_attention_scores_of_tokens_to_pixels() -> None:
    torch.manual_seed(0)
    sam = build(VIT_T)
    attention = sam.mask_decoder.transformer.final_attn_token_to_image
    tokens = torch.randn(1, 3, 256)
    before = attention.q_proj(tokens)
    network.sharpen(sam, 1.5)
    torch.testing.assert_close(attention.q_proj(tokens), 1.5 * before)
