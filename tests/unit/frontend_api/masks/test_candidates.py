import io
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from PIL import Image

from frontend_api.masks.candidates import render
from frontend_api.masks.feathering import FeatherMethod, feather
from frontend_api.masks.refinement import smooth
from frontend_api.masks.upsampling import upsample_logits

SIZES = [(1, 1), (1, 300), (90, 70), (300, 400), (700, 1100)]


def picture(height, width):
    """Noise, no pixel of it black."""
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)


def blob_logits(centre=(128, 100), radius=40):
    y, x = np.ogrid[:256, :256]
    return (radius - np.hypot(y - centre[0], x - centre[1])).astype(np.float32)


def decoded(png):
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        return image.mode, np.asarray(image)


def expected_alpha(logits, height, width, method, feather_width):
    """The definition, on the whole image."""
    mask = upsample_logits(logits, height, width) > 0
    if method is not FeatherMethod.NONE:
        mask = smooth(mask.view(np.uint8)).view(bool)
    return feather(mask, method, feather_width)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", FeatherMethod)
def test_the_mask_is_the_feathered_mask_of_the_whole_image(size, method):
    logits = blob_logits(centre=(40, 40))
    candidate = render(picture(*size), logits, method=method, width=10)
    mode, mask = decoded(candidate.mask_png)
    assert mode == "L"
    assert np.array_equal(mask, expected_alpha(logits, *size, method, 10))


@pytest.mark.parametrize("method", FeatherMethod)
@pytest.mark.parametrize("centre", [(128, 100), (0, 0), (170, 255), (250, 20)])
def test_the_cutout_is_the_image_under_the_mask_cropped_to_it(method, centre):
    image = picture(700, 1100)
    candidate = render(image, blob_logits(centre, radius=90), method=method, width=10)
    _, mask = decoded(candidate.mask_png)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    mode, cutout = decoded(candidate.cutout_png)

    assert mode == "RGBA"
    assert np.array_equal(cutout[..., 3], mask[crop])
    seen = mask[crop] > 0
    assert np.array_equal(cutout[seen, :3], image[crop][seen])
    assert not cutout[~seen].any()


@pytest.mark.parametrize("method", FeatherMethod)
@pytest.mark.parametrize("size", SIZES)
def test_an_empty_mask_gives_the_whole_image_fully_transparent(size, method):
    candidate = render(picture(*size), np.full((256, 256), -1, np.float32), method=method, width=10)
    _, mask = decoded(candidate.mask_png)
    mode, cutout = decoded(candidate.cutout_png)
    assert mode == "RGBA"
    assert mask.shape == size
    assert cutout.shape == (*size, 4)
    assert not mask.any()
    assert not cutout.any()


def test_a_mask_that_smoothing_removes_counts_as_empty():
    logits = np.full((256, 256), -10, np.float32)
    logits[100, 100] = 30
    image = picture(256, 256)
    assert decoded(render(image, logits, method=FeatherMethod.NONE, width=0).mask_png)[1].any()
    candidate = render(image, logits, method=FeatherMethod.LINEAR, width=10)
    assert not decoded(candidate.mask_png)[1].any()
    assert decoded(candidate.cutout_png)[1].shape == (256, 256, 4)


@pytest.mark.parametrize("method", FeatherMethod)
def test_a_mask_of_everything_gives_the_whole_image_opaque(method):
    image = picture(300, 400)
    candidate = render(image, np.full((256, 256), 5, np.float32), method=method, width=10)
    assert np.all(decoded(candidate.mask_png)[1] == 255)
    assert np.array_equal(decoded(candidate.cutout_png)[1][..., :3], image)


def test_the_image_and_the_logits_are_left_alone():
    image, logits = picture(300, 400), blob_logits()
    image.flags.writeable = logits.flags.writeable = False
    render(image, logits, method=FeatherMethod.EASE_OUT_POWER, width=10)
    assert np.array_equal(image, picture(300, 400))


def test_both_stages_are_entered_and_left_in_order():
    seen = []

    @contextmanager
    def stage(name):
        seen.append(f"{name} begins")
        yield
        seen.append(f"{name} ends")

    render(picture(30, 40), blob_logits(), method=FeatherMethod.LINEAR, width=3, stage=stage)
    assert seen == ["refine begins", "refine ends", "encode_png begins", "encode_png ends"]


def test_rendering_does_not_depend_on_the_number_of_threads():
    image, logits = picture(700, 1100), blob_logits()
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = render(image, logits, method=FeatherMethod.LINEAR, width=10)
        cv2.setNumThreads(4)
        assert render(image, logits, method=FeatherMethod.LINEAR, width=10) == one
    finally:
        cv2.setNumThreads(before)
