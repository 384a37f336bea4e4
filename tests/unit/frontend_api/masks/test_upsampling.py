import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling.sam import Sam

from frontend_api.images.preprocessing import model_size
from frontend_api.masks.upsampling import upsample_logits, upsample_mask

SIZES = [
    (1, 1),
    (1, 2000),
    (2000, 1),
    (2, 3),
    (100, 70),
    (333, 777),
    (683, 1024),
    (1024, 1024),
    (1200, 1800),
    (4500, 3000),
]


def smooth_logits(seed, blur=8.0, mean=-3.0):
    noise = np.random.default_rng(seed).normal(size=(256, 256)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), blur)
    return (noise / noise.std() * 8 + mean).astype(np.float32)


def as_sam_does(logits, height, width):
    class Encoder:
        img_size = 1024

    class Model:
        image_encoder = Encoder

    masks = Sam.postprocess_masks(
        Model, torch.from_numpy(logits)[None, None], model_size(height, width), (height, width)
    )
    return masks[0, 0].numpy()


def overlap(a, b):
    union = (a | b).sum()
    return (a & b).sum() / union if union else 1.0


@pytest.mark.parametrize("size", SIZES)
def test_logits_are_enlarged_as_sam_enlarges_them(size):
    logits = smooth_logits(sum(size))
    expected = as_sam_does(logits, *size)

    enlarged = upsample_logits(logits, *size)

    assert enlarged.shape == size
    assert enlarged.dtype == np.float32
    assert np.abs(enlarged - expected).max() < 2e-5
    assert overlap(enlarged > 0, expected > 0) >= 0.9999


@pytest.mark.parametrize("size", SIZES)
def test_noisy_masks_are_enlarged_as_sam_enlarges_them(size):
    logits = np.random.default_rng(sum(size)).normal(size=(256, 256)).astype(np.float32) * 20
    assert overlap(upsample_logits(logits, *size) > 0, as_sam_does(logits, *size) > 0) >= 0.9999


def spot_logits(top, left, bottom, right):
    logits = np.full((256, 256), -10, np.float32)
    logits[top:bottom, left:right] = 10
    return logits


def assert_same_as_whole(logits, height, width):
    boxed = upsample_mask(logits, height, width)
    whole = np.zeros((height, width), bool)
    whole[boxed.box.slices] = boxed.inside
    assert np.array_equal(whole, upsample_logits(logits, height, width) > 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_the_mask_inside_its_box_is_that_of_the_whole_image(size, seed):
    assert_same_as_whole(smooth_logits(seed, blur=4 + 8 * seed, mean=-12 + 6 * seed), *size)


cells = st.integers(0, 255)


@given(st.integers(1, 900), st.integers(1, 900), cells, cells, cells, cells)
@settings(deadline=None, max_examples=200)
def test_the_mask_of_any_spot_in_any_image_is_that_of_the_whole_image(height, width, y0, y1, x0, x1):
    logits = spot_logits(min(y0, y1), min(x0, x1), max(y0, y1) + 1, max(x0, x1) + 1)
    assert_same_as_whole(logits, height, width)


def test_the_box_of_a_small_mask_is_small():
    boxed = upsample_mask(spot_logits(100, 60, 104, 62), 2048, 2048)
    assert 4 * 8 <= boxed.box.height <= (4 + 2) * 8
    assert 2 * 8 <= boxed.box.width <= (2 + 2) * 8


@pytest.mark.parametrize("size", SIZES)
def test_nothing_positive_makes_an_empty_box(size):
    boxed = upsample_mask(np.zeros((256, 256), np.float32), *size)
    assert boxed.inside.size == 0
    assert boxed.box.height == boxed.inside.shape[0]
    assert boxed.box.width == boxed.inside.shape[1]


def test_what_is_positive_outside_of_the_image_alone_makes_no_mask():
    boxed = upsample_mask(spot_logits(200, 0, 256, 256), 500, 1000)
    assert not boxed.inside.any()


def test_logits_are_left_alone():
    logits = smooth_logits(0)
    before = logits.copy()
    logits.flags.writeable = False
    upsample_mask(logits, 300, 400)
    assert np.array_equal(logits, before)
