import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from frontend_api.masks.box import Box
from frontend_api.masks.feathering import FeatherMethod, feather
from frontend_api.masks.refinement import refine, smooth
from frontend_api.masks.upsampling import BoxedMask

methods = st.sampled_from(list(FeatherMethod))
ELLIPSE = np.array([[0, 0, 1, 0, 0], [1] * 5, [1] * 5, [1] * 5, [0, 0, 1, 0, 0]], bool)


def refined(mask, box, method, width):
    """Refine what `box` holds of a whole mask, and put it back into the whole image."""
    height, image_width = mask.shape
    found, alpha = refine(
        BoxedMask(box, mask[box.slices].copy()), height, image_width, method=method, feather_width=width
    )
    whole = np.zeros(mask.shape, np.uint8)
    whole[found.slices] = alpha
    return whole


@st.composite
def masks_in_images(draw):
    """A whole mask, and a box that holds all of it."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    fill = draw(st.booleans())
    inside = draw(arrays.arrays(bool, (bottom - top, right - left), elements=st.booleans(), fill=st.just(fill)))
    if draw(st.booleans()):  # blocks, which smoothing leaves more of than of single pixels
        inside = ndimage.binary_dilation(inside, iterations=2)
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = inside
    return mask, Box(top, left, bottom, right)


@given(masks_in_images(), methods, st.floats(0, 30))
@settings(deadline=None, max_examples=500)
def test_refining_around_the_box_is_refining_the_whole_image(mask_and_box, method, width):
    mask, box = mask_and_box
    smoothed = mask if method is FeatherMethod.NONE else smooth(mask.view(np.uint8)).view(bool)
    assert np.array_equal(refined(mask, box, method, width), feather(smoothed, method, width))


@given(masks_in_images())
@settings(deadline=None, max_examples=200)
def test_smoothing_opens_then_closes_with_an_ellipse_of_five_pixels(mask_and_box):
    mask, _ = mask_and_box
    eroded = ndimage.binary_erosion(mask, ELLIPSE, border_value=1)  # what is outside of the image is unknown
    opened = ndimage.binary_dilation(eroded, ELLIPSE)
    closed = ndimage.binary_erosion(ndimage.binary_dilation(opened, ELLIPSE), ELLIPSE, border_value=1)
    assert np.array_equal(smooth(mask.view(np.uint8)).view(bool), closed)


@given(masks_in_images(), st.floats(0, 30))
@settings(deadline=None)
def test_the_method_none_returns_sams_mask_unchanged(mask_and_box, width):
    mask, box = mask_and_box
    assert np.array_equal(refined(mask, box, FeatherMethod.NONE, width), mask * np.uint8(255))


def test_specks_and_pinholes_go_and_large_shapes_stay():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    square = mask.copy()
    mask[50, 50] = False
    mask[5:7, 5:8] = True
    smoothed = refined(mask, Box(0, 0, 100, 100), FeatherMethod.LINEAR, 0) > 0
    assert smoothed[50, 50]
    assert not smoothed[:15, :15].any()
    assert (smoothed != square).sum() <= 4 * 3  # the corners become a little rounder


@pytest.mark.parametrize("method", FeatherMethod)
def test_an_empty_box_is_refined_to_nothing(method):
    empty = BoxedMask(Box(0, 0, 0, 0), np.zeros((0, 0), bool))
    box, alpha = refine(empty, 30, 40, method=method, feather_width=5)
    assert alpha.shape == (box.height, box.width)
    assert not alpha.any()


def test_work_is_confined_to_the_surroundings_of_the_box():
    box, _ = refine(
        BoxedMask(Box(500, 600, 520, 630), np.ones((20, 30), bool)),
        4000,
        4000,
        method=FeatherMethod.LINEAR,
        feather_width=10,
    )
    assert box == Box(486, 586, 534, 644)
