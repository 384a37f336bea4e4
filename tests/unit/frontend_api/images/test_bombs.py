"""Small files that would cost much. The test process may hold 1 GB more than it does; see `little_memory`."""

import io
import resource
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frontend_api.errors import ImageTooLarge, UnsupportedImage
from frontend_api.images.decoding import decode_image
from tests.support.pictures import bmp_rle, encoded, gif_of, photo, png_of, tiff_of

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

LIMIT = 1_000_000
ONE_GREY_PIXEL_TIFF = {
    256: ("L", [1]),
    257: ("L", [1]),
    258: ("H", [8]),
    262: ("H", [1]),
    277: ("H", [1]),
}


@pytest.fixture(autouse=True)
def little_memory():
    """Make a bomb that goes off fail its test instead of the machine."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def webp_of(width: int, height: int) -> bytes:
    """A WebP whose header claims a size."""
    plain = encoded(np.zeros((16, 16, 3), np.uint8), "WEBP", lossless=True)[12:]
    header = b"VP8X\x0a\0\0\0\x10\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + header + plain
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    "data",
    [
        png_of([(b"IDAT", b"")], width=60_000, height=60_000),
        png_of([(b"IDAT", b"")], width=2**31 - 1, height=2**31 - 1),
        gif_of((65_535, 65_535), (65_535, 65_535), disposal=2),
        gif_of((1, 1), (65_535, 65_535)),
        gif_of((1, 1), (1001, 1000), disposal=2),
        webp_of(16_384, 16_384),
        bmp_rle(30_000, 30_000, b"\0\1"),
        tiff_of({**ONE_GREY_PIXEL_TIFF, 256: ("L", [2**31]), 257: ("L", [2**31]), 273: ("L", [8])}),
    ],
    ids=["png", "png, greatest", "gif", "gif frame", "gif frame just over", "webp", "bmp", "tiff"],
)
def test_a_header_that_claims_too_many_pixels_is_refused(data):
    with pytest.raises(ImageTooLarge, match="at most"):
        decode_image(data, max_pixels=LIMIT)


def test_a_side_longer_than_jpeg_allows_is_refused():
    data = encoded(np.zeros((65_536, 1), np.uint8), "PNG")
    with pytest.raises(ImageTooLarge, match="1×65536 pixels; sides of at most 65535"):
        decode_image(data, max_pixels=LIMIT)
    assert decode_image(encoded(np.zeros((65_535, 1), np.uint8), "PNG"), max_pixels=LIMIT).pixels.shape == (
        65_535,
        1,
        3,
    )


def test_a_small_tiff_with_a_huge_tile_is_refused():
    tiles = {259: ("H", [8]), 322: ("L", [60_000]), 323: ("L", [60_000]), 324: ("L", [300]), 325: ("L", [100])}
    data = tiff_of({**ONE_GREY_PIXEL_TIFF, **tiles}, zlib.compress(bytes(10**6)))
    with pytest.raises(ImageTooLarge, match="tiles have 60000×60000 pixels; at most 1000000"):
        decode_image(data, max_pixels=LIMIT)


@pytest.mark.parametrize("tag", [273, 324], ids=["strips", "tiles"])
def test_a_tiff_of_very_many_parts_is_refused_before_it_is_opened(tag):
    tags = {**ONE_GREY_PIXEL_TIFF, 278: ("L", [1]), 322: ("L", [16]), 323: ("L", [16]), tag: ("L", [8] * 1_000_000)}
    with pytest.raises(UnsupportedImage, match="strips or tiles"):
        decode_image(tiff_of(tags), max_pixels=LIMIT)


def progressive_jpeg() -> tuple[bytes, bytes]:
    """A progressive JPEG and its last scan, which can be repeated."""
    data = encoded(np.zeros((64, 64), np.uint8), "JPEG", progressive=True)
    return data, data[data.rindex(b"\xff\xda") : -2]


def test_a_jpeg_of_very_many_scans_is_refused():
    data, scan = progressive_jpeg()
    few = data[:-2] + scan * 50 + data[-2:]
    assert decode_image(few, max_pixels=LIMIT).pixels.shape == (64, 64, 3)
    with pytest.raises(UnsupportedImage, match="more than 100 scans"):
        decode_image(data[:-2] + scan * 200 + data[-2:], max_pixels=LIMIT)


@pytest.mark.parametrize("disguise", [b"\xff\xfe\x00\x04\xff\xd9", b"\xff\xff\xff\xd0\xff\x00"])
def test_segments_that_look_like_the_end_hide_no_scans(disguise):
    data, scan = progressive_jpeg()
    with pytest.raises(UnsupportedImage, match="more than 100 scans"):
        decode_image(data[:-2] + disguise + scan * 200 + data[-2:], max_pixels=LIMIT)


def test_bytes_behind_a_jpeg_do_not_count_as_scans():
    """Phones append a video to a photo."""
    data = encoded(photo(), "JPEG", quality=95)
    decode_image(data + b"\xff\xda\x00\x02" * 1000, max_pixels=LIMIT)


def test_bytes_of_metadata_in_a_jpeg_do_not_count_as_scans():
    data = encoded(photo(), "JPEG", quality=95, comment=b"\xff\xda\x00\x02" * 1000)
    decode_image(data, max_pixels=LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        png_of([(b"abCd", b"")] * 600_000 + [(b"IDAT", zlib.compress(b"\0\0"))], width=1, height=1, colour=0),
        encoded(photo(), "JPEG").replace(b"\xff\xdb", b"\xff\xe5\0\2" * 600_000 + b"\xff\xdb", 1),
        gif_of((4, 4), (4, 4)).replace(b"!", b"!\xfe" + b"\1a" * 600_000 + b"\0!", 1),
    ],
    ids=["png chunks", "jpeg segments", "gif blocks"],
)
def test_a_picture_of_very_many_parts_is_refused(data):
    with pytest.raises(UnsupportedImage, match="too many parts"):
        decode_image(data, max_pixels=LIMIT)


def test_a_large_run_length_encoded_bmp_is_refused_since_it_is_decoded_slowly():
    data = bmp_rle(60_000, 100, b"\0\1")
    with pytest.raises(ImageTooLarge, match="run-length encoded BMP has 60000×100 pixels; at most 4000000"):
        decode_image(data, max_pixels=10_000_000)


def test_text_that_unpacks_to_gigabytes_is_refused():
    text = (b"zTXt", b"comment\0\0" + zlib.compress(bytes(200_000_000), 9))
    data = png_of([text, (b"IDAT", zlib.compress(b"\0\0"))], width=1, height=1, colour=0)
    with pytest.raises(UnsupportedImage):
        decode_image(data, max_pixels=LIMIT)


def test_exif_whose_tags_all_claim_the_same_bytes_costs_no_more_than_its_size():
    block = bytes(60_000)
    entries = b"".join(
        (20_000 + tag).to_bytes(2, "little") + b"\1\0" + len(block).to_bytes(4, "little") + (8).to_bytes(4, "little")
        for tag in range(20_000)
    )
    exif = b"II*\0\x08\0\0\0" + (20_000).to_bytes(2, "little") + entries + bytes(4) + block
    buffer = io.BytesIO()
    Image.fromarray(photo()).save(buffer, "PNG", exif=exif)
    assert np.array_equal(decode_image(buffer.getvalue(), max_pixels=LIMIT).pixels, photo())


def test_only_the_first_frame_counts():
    frames = [Image.new("RGB", (500, 500), (frame, 0, 0)) for frame in range(100)]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert decode_image(data, max_pixels=300_000).pixels.shape == (500, 500, 3)
