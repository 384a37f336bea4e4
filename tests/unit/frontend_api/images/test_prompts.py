import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling.prompt_encoder import PromptEncoder
from segment_anything.utils.transforms import ResizeLongestSide

from frontend_api.errors import InvalidPrompt
from frontend_api.images.preprocessing import MODEL_SIDE, model_size
from frontend_api.images.prompts import MASK_SIDE, Prompt, mask_prompt_logits, to_model_prompt
from frontend_api.masks.upsampling import upsample_logits
from tests.support.pictures import disc

NO_POINTS = np.zeros((0, 2), np.float32)
NO_LABELS = np.zeros(0, np.int32)


def prompt_of(count, *, box=None, mask=None):
    points = np.random.default_rng(count).uniform(0, 100, (count, 2)).astype(np.float32)
    labels = (np.arange(count) % 2).astype(np.int32)
    return Prompt(points, labels, None if box is None else np.array(box, np.float32), mask)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return PromptEncoder(256, (64, 64), (MODEL_SIDE, MODEL_SIDE), 16)


@pytest.mark.parametrize("size", [(100, 100), (1500, 2250), (1, 2000), (4500, 3000)])
@pytest.mark.parametrize(
    ("count", "box"), [(1, None), (3, None), (4, None), (0, (10, 20, 30, 40)), (2, (0.5, 1, 60.25, 99))]
)
def test_prompts_are_embedded_as_sam_predictor_embeds_them(encoder, count, box, size):
    """What SAM's prompt encoder would make of our points is what it makes of SamPredictor's."""
    prompt = prompt_of(count, box=box)
    transform = ResizeLongestSide(MODEL_SIDE)
    points = boxes = None
    if count:
        coords = transform.apply_coords(prompt.points, size)
        points = (
            torch.as_tensor(coords, dtype=torch.float)[None],
            torch.as_tensor(prompt.labels, dtype=torch.int)[None],
        )
    if box is not None:
        boxes = torch.as_tensor(transform.apply_boxes(prompt.box, size), dtype=torch.float)[None]
    with torch.no_grad():
        expected, _ = encoder(points=points, boxes=boxes, masks=None)

    model_prompt = to_model_prompt(prompt, *size)

    seen = model_prompt.point_labels != -2
    coords = torch.from_numpy(model_prompt.point_coords[seen])[None] + 0.5
    embedded = encoder.pe_layer.forward_with_coords(coords, (MODEL_SIDE, MODEL_SIDE))
    table = {index: embedding.weight[0] for index, embedding in enumerate(encoder.point_embeddings)}
    for index, label in enumerate(model_prompt.point_labels[seen]):
        if label == -1:
            embedded[0, index] = encoder.not_a_point_embed.weight[0]
        else:
            embedded[0, index] += table[int(label)]
    assert embedded.shape == expected.shape
    assert torch.allclose(embedded, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "box", "labels"),
    [
        (1, None, [0, -1, -2, -2]),
        (3, None, [0, 1, 0, -1]),
        (4, None, [0, 1, 0, 1, -1, -2, -2, -2]),
        (0, (1, 2, 3, 4), [2, 3, -2, -2]),
        (3, (1, 2, 3, 4), [0, 1, 0, 2, 3, -2, -2, -2]),
        (0, None, [-2, -2, -2, -2]),
    ],
)
def test_points_are_followed_by_a_non_point_or_the_box_then_by_padding(count, box, labels):
    assert to_model_prompt(prompt_of(count, box=box), 100, 100).point_labels.tolist() == labels


@given(st.integers(0, 300), st.booleans())
@settings(deadline=None)
def test_prompts_are_padded_to_powers_of_two_from_four(count, has_box):
    prompt = to_model_prompt(prompt_of(count, box=(1, 2, 3, 4) if has_box else None), 100, 100)
    used = int((prompt.point_labels != -2).sum())
    length = len(prompt.point_labels)
    assert used == count + (2 if has_box else bool(count))
    assert length >= 4
    assert length & (length - 1) == 0
    assert length == 4 or used > length // 2
    assert prompt.point_coords.shape == (length, 2)
    assert not prompt.point_coords[used:].any()


def test_coordinates_are_computed_in_double_precision():
    """Single precision all the way would round 2999.7 × (1024 / 3001) differently."""
    points = np.array([[2999.7, 1.1]])
    expected = ResizeLongestSide(MODEL_SIDE).apply_coords(points, (2000, 3001)).astype(np.float32)
    prompt = to_model_prompt(Prompt(points, np.array([1], np.int32)), 2000, 3001)
    assert np.array_equal(prompt.point_coords[:1], expected)
    assert prompt.point_coords.dtype == np.float32


def test_a_mask_counts_only_where_there_is_one():
    logits = np.full((MASK_SIDE, MASK_SIDE), 3, np.float32)
    with_mask = to_model_prompt(prompt_of(0, mask=logits), 100, 100)
    without = to_model_prompt(prompt_of(1), 100, 100)
    assert with_mask.has_mask_input.tolist() == [1]
    assert np.array_equal(with_mask.mask_input, logits[None])
    assert without.has_mask_input.tolist() == [0]
    assert without.mask_input.shape == (1, MASK_SIDE, MASK_SIDE)
    assert not without.mask_input.any()


@pytest.mark.parametrize("size", [(100, 100), (300, 400), (1024, 768), (1500, 2250), (4500, 3000)])
@pytest.mark.parametrize("scale", [1, 0.5])
def test_a_mask_prompt_thresholded_and_enlarged_gives_back_the_mask(size, scale):
    height, width = size
    whole = disc(height, width) > 0
    mask = disc(round(height * scale), round(width * scale))

    logits = mask_prompt_logits(mask, height, width)

    again = upsample_logits(logits, height, width) > 0
    assert logits.shape == (MASK_SIDE, MASK_SIDE)
    assert logits.dtype == np.float32
    assert (again & whole).sum() / (again | whole).sum() > 0.97


def test_black_white_and_the_outside_of_the_image_have_logits_of_ten():
    mask = np.zeros((100, 200), np.uint8)
    mask[:, :100] = 255
    logits = mask_prompt_logits(mask, 1000, 2000)
    assert np.all(logits[:128, :127] == 10)
    assert np.all(logits[:128, 129:] == -10)
    assert np.all(logits[128:] == -10)


def test_logits_grow_linearly_with_the_part_of_a_cell_that_is_white():
    mask = np.zeros((256, 256), np.uint8)
    mask[0, 0], mask[0, 1] = 255, 51
    small = mask_prompt_logits(cv2.resize(mask, (1024, 1024), interpolation=cv2.INTER_NEAREST), 1024, 1024)
    assert small[0, :3] == pytest.approx([10, -6, -10], abs=1e-5)


def test_a_white_mask_is_white_up_to_the_edge_of_an_image_that_ends_within_a_cell():
    height, width = 683, 1024  # 170.75 cells
    assert model_size(height, width) == (683, 1024)
    logits = mask_prompt_logits(np.full((height, width), 255, np.uint8), height, width)
    assert np.all(logits[:171] == 10)
    assert np.all(logits[171:] == -10)


@pytest.mark.parametrize(
    ("mask_size", "size"),
    [((100, 150), (1000, 1500)), ((101, 150), (1000, 1500)), ((256, 341), (768, 1024)), ((1, 500), (1, 2000))],
)
def test_masks_of_the_same_aspect_ratio_but_for_rounding_are_taken(mask_size, size):
    assert mask_prompt_logits(np.zeros(mask_size, np.uint8), *size).shape == (MASK_SIDE, MASK_SIDE)


@pytest.mark.parametrize(
    ("mask_size", "size"), [((150, 100), (1000, 1500)), ((256, 256), (768, 1024)), ((103, 150), (1000, 1500))]
)
def test_a_mask_of_another_aspect_ratio_is_refused_with_both_sizes(mask_size, size):
    with pytest.raises(InvalidPrompt, match=f"{mask_size[1]}×{mask_size[0]} .* {size[1]}×{size[0]}"):
        mask_prompt_logits(np.zeros(mask_size, np.uint8), *size)
