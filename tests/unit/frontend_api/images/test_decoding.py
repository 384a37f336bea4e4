import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frontend_api.errors import ImageTooLarge, UnsupportedImage
from frontend_api.images.decoding import decode_image, decode_mask
from tests.support.pictures import (
    HEIGHT,
    WIDTH,
    disc,
    encoded,
    photo,
    pictures,
    png_of,
    tiff_of,
    with_orientation,
)

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

LIMIT = 1_000_000
PICTURES = pictures()
ORIENTED = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def differences(a, b):
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int))


@pytest.mark.parametrize("name", PICTURES)
def test_every_kind_of_picture_becomes_8_bit_rgb(name):
    picture = PICTURES[name]

    pixels, picture_format = decode_image(picture.data, max_pixels=LIMIT)

    assert picture_format == picture.format
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert differences(pixels, picture.pixels).mean(axis=(0, 1)).max() <= picture.tolerance


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pictures_are_turned_as_exif_says(format, orientation):
    stored = photo()
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}.get(format, {"quality": 95})
    data = with_orientation(stored, orientation, format, **options)
    expected = ORIENTED[orientation](stored)

    pixels = decode_image(data, max_pixels=LIMIT).pixels

    assert differences(pixels, expected).mean() < 3
    assert pixels.flags.c_contiguous


def test_masks_are_turned_as_exif_says():
    stored = disc()
    stored[:, :10] = 255
    mask = decode_mask(with_orientation(stored, 6, "PNG"), max_pixels=LIMIT).pixels
    assert np.array_equal(mask, np.rot90(stored, -1))


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_exif_does_not_know_is_ignored(orientation):
    data = with_orientation(photo(), orientation, "PNG")
    assert np.array_equal(decode_image(data, max_pixels=LIMIT).pixels, photo())


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"MM"])
def test_damaged_exif_makes_no_damaged_picture(exif):
    data = encoded(photo(), "PNG", exif=exif)
    assert np.array_equal(decode_image(data, max_pixels=LIMIT).pixels, photo())


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_an_orientation_in_xmp_is_ignored(format):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    if format == "PNG":
        plain = encoded(photo(), "PNG")
        text = png_of([(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)], width=1, height=1)
        start = plain.index(b"IDAT") - 4
        data = plain[:start] + text[33 : text.index(b"IEND") - 4] + plain[start:]
    else:
        data = encoded(photo(), "TIFF", tiffinfo={700: xmp})

    assert np.array_equal(decode_image(data, max_pixels=LIMIT).pixels, photo())


def test_an_orientation_behind_the_pixels_is_ignored():
    chunk = with_orientation(photo(), 6, "PNG")
    start = chunk.index(b"eXIf") - 4
    exif = chunk[start : start + 12 + int.from_bytes(chunk[start : start + 4], "big")]
    data = encoded(photo(), "PNG").replace(b"\0\0\0\0IEND", exif + b"\0\0\0\0IEND")
    assert b"eXIf" in data
    assert np.array_equal(decode_image(data, max_pixels=LIMIT).pixels, photo())


def test_transparency_of_a_mask_is_black():
    strokes = np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), disc()])
    assert np.array_equal(decode_mask(encoded(strokes, "PNG"), max_pixels=LIMIT).pixels, disc())


@pytest.mark.parametrize(
    "picture",
    [disc(), disc() > 0, disc().astype(np.uint16) * 257, np.repeat(disc()[..., None], 3, axis=-1)],
    ids=["grey", "one bit", "16 bit", "rgb"],
)
def test_masks_of_every_depth_become_8_bit_grey(picture):
    data = encoded(picture, "PNG") if picture.ndim == 2 else encoded(picture, "BMP")
    mask = decode_mask(data, max_pixels=LIMIT).pixels
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, disc())


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_float_masks_become_8_bit_grey_whatever_their_white(white):
    data = encoded((disc() / 255 * white).astype(np.float32), "TIFF")
    assert np.array_equal(decode_mask(data, max_pixels=LIMIT).pixels, disc())


def test_floats_that_are_no_numbers_or_below_zero_are_brought_into_range():
    values = np.array([[np.nan, -np.inf, -1.0, 0.0, 3.0, np.inf]], np.float32)
    mask = decode_mask(encoded(values, "TIFF"), max_pixels=LIMIT).pixels
    assert mask.tolist() == [[0, 0, 0, 64, 255, 255]]


def test_a_black_float_picture_stays_black():
    assert not decode_mask(encoded(np.zeros((3, 3), np.float32), "TIFF"), max_pixels=LIMIT).pixels.any()


@pytest.mark.parametrize("name", [name for name, picture in PICTURES.items() if picture.pixels.shape[0] > 2])
def test_a_picture_cut_in_the_middle_is_refused(name):
    data = PICTURES[name].data
    # The pixels of what has further frames or metadata behind them are in the first part.
    part = 4 if any(kind in name for kind in ("animated", "multi", "tiff")) else 2
    with pytest.raises(UnsupportedImage, match=r"truncated or damaged|no image"):
        decode_image(data[: len(data) // part], max_pixels=LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"just text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        encoded(photo(), "ICO"),
        encoded(photo(), "PPM"),
        encoded(photo(), "JPEG2000"),
    ],
    ids=["empty", "zero", "text", "svg", "pdf", "ico", "ppm", "jpeg 2000"],
)
@pytest.mark.parametrize("read", [decode_image, decode_mask])
def test_what_is_no_supported_picture_is_refused(read, data):
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF"):
        read(data, max_pixels=LIMIT)


@pytest.mark.parametrize("read", [decode_image, decode_mask])
def test_one_pixel_over_the_limit_is_refused_with_the_numbers(read):
    data = encoded(np.zeros((10, 20, 3), np.uint8), "PNG")
    read(data, max_pixels=200)
    with pytest.raises(ImageTooLarge, match=r"20×10 = 200 pixels; at most 199"):
        read(data, max_pixels=199)


def test_the_limit_holds_before_pixels_are_decoded():
    header_only = png_of([(b"IDAT", b"no pixels at all")], width=4000, height=3000)
    with pytest.raises(ImageTooLarge, match="12000000 pixels"):
        decode_image(header_only, max_pixels=LIMIT)


def test_metadata_that_pillow_warns_of_is_not_mentioned():
    """In a process of its own: pytest has warning filters of its own."""
    broken = tiff_of(
        {256: ("L", [2, 2]), 257: ("L", [1]), 258: ("H", [8]), 262: ("H", [1]), 273: ("L", [0]), 282: ("L", [9] * 9)}
    )
    code = (
        "import sys; from frontend_api.images.decoding import decode_image;"
        f"print(decode_image(bytes.fromhex('{broken.hex()}'), max_pixels=100).pixels.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "(1, 2, 3)\n"


@cache
def seeds():
    return [picture.data for picture in PICTURES.values()] + [
        with_orientation(photo(), 6, format) for format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
    ]


@st.composite
def damaged_pictures(draw):
    """A real picture of which some bytes are changed, removed, repeated or cut off, mostly in its header."""
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 6))):
        reach = draw(st.sampled_from([64, 512, len(data)]))
        at = draw(st.integers(0, min(reach, len(data)) - 1))
        match draw(st.sampled_from(["flip", "value", "number", "remove", "repeat"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "value":
                data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "number":
                data[at : at + 4] = draw(
                    st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1"])
                )
            case "remove":
                del data[at : at + draw(st.integers(1, 64))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
        if not data:
            break
    cut = draw(st.one_of(st.none(), st.integers(0, len(data))))
    return bytes(data[:cut])


@settings(max_examples=1000, deadline=None)
@given(damaged_pictures())
def test_damaged_pictures_are_decoded_or_refused_but_never_break(data):
    try:
        pixels = decode_image(data, max_pixels=LIMIT).pixels
    except (UnsupportedImage, ImageTooLarge):
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[0] * pixels.shape[1] <= LIMIT


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*"]), st.binary())
def test_nonsense_behind_a_known_signature_is_refused(signature, data):
    with pytest.raises((UnsupportedImage, ImageTooLarge)):
        decode_image(signature + data, max_pixels=LIMIT)


def test_decoding_leaves_pillows_global_settings_alone():
    before = Image.MAX_IMAGE_PIXELS
    decode_image(encoded(photo(), "PNG"), max_pixels=LIMIT)
    assert before == Image.MAX_IMAGE_PIXELS == 89_478_485
