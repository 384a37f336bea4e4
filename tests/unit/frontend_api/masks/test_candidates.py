import io
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from PIL import Image

from frontend_api.masks.candidates import Crop, Output, PictureFormat, Rendering, render
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


def rendered(image, logits, *, stage=None, outputs=(Output.CUTOUT, Output.MASK), method, width, **options):
    rendering = Rendering(frozenset(outputs), method, width, **options)
    return render(image, image.shape[:2], logits, rendering, *([] if stage is None else [stage]))


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
    candidate = rendered(picture(*size), logits, method=method, width=10)
    mode, mask = decoded(candidate.mask)
    assert mode == "L"
    assert np.array_equal(mask, expected_alpha(logits, *size, method, 10))


@pytest.mark.parametrize("method", FeatherMethod)
@pytest.mark.parametrize("centre", [(128, 100), (0, 0), (170, 255), (250, 20)])
def test_the_cutout_is_the_image_under_the_mask_cropped_to_it(method, centre):
    image = picture(700, 1100)
    candidate = rendered(image, blob_logits(centre, radius=90), method=method, width=10)
    _, mask = decoded(candidate.mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    mode, cutout = decoded(candidate.cutout)

    assert mode == "RGBA"
    assert np.array_equal(cutout[..., 3], mask[crop])
    seen = mask[crop] > 0
    assert np.array_equal(cutout[seen, :3], image[crop][seen])
    assert not cutout[~seen].any()


@pytest.mark.parametrize("method", FeatherMethod)
@pytest.mark.parametrize("size", SIZES)
def test_an_empty_mask_gives_the_whole_image_fully_transparent(size, method):
    candidate = rendered(picture(*size), np.full((256, 256), -1, np.float32), method=method, width=10)
    _, mask = decoded(candidate.mask)
    mode, cutout = decoded(candidate.cutout)
    assert mode == "RGBA"
    assert mask.shape == size
    assert cutout.shape == (*size, 4)
    assert not mask.any()
    assert not cutout.any()


def test_a_mask_that_smoothing_removes_counts_as_empty():
    logits = np.full((256, 256), -10, np.float32)
    logits[100, 100] = 30
    image = picture(256, 256)
    assert decoded(rendered(image, logits, method=FeatherMethod.NONE, width=0).mask)[1].any()
    candidate = rendered(image, logits, method=FeatherMethod.LINEAR, width=10)
    assert not decoded(candidate.mask)[1].any()
    assert decoded(candidate.cutout)[1].shape == (256, 256, 4)


@pytest.mark.parametrize("method", FeatherMethod)
def test_a_mask_of_everything_gives_the_whole_image_opaque(method):
    image = picture(300, 400)
    candidate = rendered(image, np.full((256, 256), 5, np.float32), method=method, width=10)
    assert np.all(decoded(candidate.mask)[1] == 255)
    assert np.array_equal(decoded(candidate.cutout)[1][..., :3], image)


def test_the_image_and_the_logits_are_left_alone():
    image, logits = picture(300, 400), blob_logits()
    image.flags.writeable = logits.flags.writeable = False
    rendered(image, logits, method=FeatherMethod.EASE_OUT_POWER, width=10)
    assert np.array_equal(image, picture(300, 400))


def test_both_stages_are_entered_and_left_in_order():
    seen = []

    @contextmanager
    def stage(name):
        seen.append(f"{name} begins")
        yield
        seen.append(f"{name} ends")

    rendered(picture(30, 40), blob_logits(), method=FeatherMethod.LINEAR, width=3, stage=stage)
    assert seen == ["refine begins", "refine ends", "encode_png begins", "encode_png ends"]


def test_rendering_does_not_depend_on_the_number_of_threads():
    image, logits = picture(700, 1100), blob_logits()
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = rendered(image, logits, method=FeatherMethod.LINEAR, width=10)
        cv2.setNumThreads(4)
        assert rendered(image, logits, method=FeatherMethod.LINEAR, width=10) == one
    finally:
        cv2.setNumThreads(before)


def test_what_is_not_asked_for_is_not_there_and_needs_no_pixels():
    geometry = Rendering(frozenset({Output.RLE, Output.POLYGONS, Output.MEASURES}), FeatherMethod.LINEAR, 10)
    candidate = render(None, (300, 400), blob_logits(), geometry)
    assert (candidate.mask, candidate.cutout, candidate.logits) == (None, None, None)
    assert candidate.rle["size"] == [300, 400]
    assert candidate.measures["area"] > 0
    assert len(candidate.polygons) == 1


def test_logits_are_answered_as_they_came_in_half_precision():
    only = Rendering(frozenset({Output.LOGITS}), FeatherMethod.LINEAR, 10)
    candidate = render(None, (300, 400), blob_logits(), only)
    assert candidate.logits.dtype == np.float16
    assert np.array_equal(candidate.logits, blob_logits().astype(np.float16))


def test_a_cutout_in_the_frame_has_the_size_of_the_image_and_the_masks_alpha():
    image = picture(300, 400)
    candidate = rendered(image, blob_logits(), method=FeatherMethod.LINEAR, width=10, crop=Crop.FRAME)
    _, cutout = decoded(candidate.cutout)
    assert cutout.shape == (300, 400, 4)
    assert np.array_equal(cutout[..., 3], decoded(candidate.mask)[1])


def test_a_webp_has_the_alpha_of_the_png_and_about_its_colours():
    y, x = np.mgrid[:300, :400]
    image = np.dstack([y * 255 // 300, x * 255 // 400, np.full_like(x, 90)]).astype(np.uint8)
    png, webp = (
        rendered(image, blob_logits(), method=FeatherMethod.LINEAR, width=10, format=kind).cutout
        for kind in PictureFormat
    )
    with Image.open(io.BytesIO(webp), formats=["WEBP"]) as opened:
        lossy = np.asarray(opened)
    exact = decoded(png)[1]
    assert np.array_equal(lossy[..., 3], exact[..., 3])
    opaque = exact[..., 3] == 255
    assert np.abs(lossy[opaque].astype(int) - exact[opaque]).mean() < 3
