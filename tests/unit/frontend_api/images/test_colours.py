"""Colour profiles are applied as browsers do."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from frontend_api.images.decoding import decode_image, decode_mask
from tests.support.pictures import DISPLAY_P3, display_p3, encoded, grey, photo

# XYZ of sRGB's primaries, adapted to D50, in columns.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def from_display_p3(pixels):
    """The same colours as sRGB's numbers, by the definitions."""
    values = pixels / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ (np.linalg.inv(SRGB) @ np.array(list(DISPLAY_P3.values())).T).T, 0, 1)
    values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * values)


def read(data):
    return decode_image(data, max_pixels=1_000_000).pixels.astype(int)


def transparent(pixels):
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


@pytest.mark.parametrize(
    "picture", [photo(), transparent(photo()), Image.fromarray(photo()).quantize(64)], ids=["RGB", "RGBA", "palette"]
)
def test_colours_of_a_wider_space_become_those_of_srgb(picture):
    expected = from_display_p3(read(encoded(picture, "PNG")))
    pixels = read(encoded(picture, "PNG", icc_profile=display_p3()))
    assert np.abs(pixels - expected).max() <= 2
    assert np.abs(pixels - photo()).max() > 20


def test_a_transparent_colour_is_the_one_before_the_profile():
    pixels = photo()
    key = tuple(int(channel) for channel in pixels[5, 7])
    found = read(encoded(pixels, "PNG", icc_profile=display_p3(), transparency=key))
    assert (found[5, 7] == 255).all()


def test_cmyk_is_read_by_its_profile(monkeypatch):
    asked = []
    build = ImageCms.buildTransform
    monkeypatch.setattr(ImageCms, "buildTransform", lambda *args: asked.append(args[2:]) or build(*args))
    plain = Image.fromarray(photo()).convert("CMYK")
    # No profile of CMYK is at hand; one of RGB does not fit.
    assert np.array_equal(read(encoded(plain, "TIFF", icc_profile=display_p3())), read(encoded(plain, "TIFF")))
    assert asked == [("CMYK", "RGB")]


@pytest.mark.parametrize("profile", [b"damaged", display_p3()[:200], display_p3()[:-100], bytes(3000)])
@pytest.mark.parametrize("picture", [photo(), grey(), np.dstack([grey(), grey()])], ids=["RGB", "L", "LA"])
def test_a_damaged_profile_makes_no_damaged_picture(picture, profile):
    found = read(encoded(picture, "PNG", icc_profile=profile))
    assert found.shape == (*picture.shape[:2], 3)


def test_a_profile_of_srgb_changes_nothing():
    assert np.array_equal(read(encoded(photo(), "PNG", icc_profile=SRGB_PROFILE)), photo())


def test_a_profile_of_colours_does_not_change_a_grey_picture_or_a_mask():
    data = encoded(grey(), "PNG", icc_profile=display_p3())
    assert np.array_equal(read(data)[..., 0], grey())
    assert np.array_equal(decode_mask(data, max_pixels=1_000_000).pixels, grey())
