"""Uploaded bytes to pixels: which pictures are read, and how each is brought to 8-bit RGB or grey."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from frontend_api.errors import ImageTooLarge, ServiceError, UnsupportedImage
from frontend_api.images.bombs import MeteredStream, check_size, check_structure
from frontend_api.images.colours import to_srgb

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

_TRANSPOSE_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow reports damaged metadata through `warnings`; the picture decides, not its metadata. Ignored once
# and for all, since `warnings.catch_warnings` changes the filters of every thread.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Decoded(NamedTuple):
    """A decoded picture.

    Attributes:
        pixels: EXIF-oriented, contiguous and read-only.
        format: Pillow's name of the format, such as ``JPEG``.
    """

    pixels: NDArray[np.uint8]
    format: str


def decode_image(data: bytes, *, max_pixels: int) -> Decoded:
    """Decode the first frame as the browser shows it, transparent parts over white.

    Returns:
        sRGB, [H, W, 3], EXIF orientation and colour profile applied.

    Raises:
        UnsupportedImage: the bytes are none of `FORMATS`, or are truncated or corrupt.
        ImageTooLarge: the picture has more than `max_pixels` pixels.
    """
    with _opened(data, max_pixels) as (picture, orientation):
        pixels = np.asarray(_oriented(_over(to_srgb(picture), "white"), orientation))
        return Decoded(pixels, picture.format or "")


def decode_mask(data: bytes, *, max_pixels: int) -> Decoded:
    """Decode a white-on-black mask, transparent parts being black.

    Returns:
        Grey, [H, W], EXIF orientation applied.

    Raises:
        UnsupportedImage: the bytes are none of `FORMATS`, or are truncated or corrupt.
        ImageTooLarge: the picture has more than `max_pixels` pixels.
    """
    with _opened(data, max_pixels) as (picture, orientation):
        pixels = np.asarray(_oriented(_over(picture, "black").convert("L"), orientation))
        return Decoded(pixels, picture.format or "")


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """Yield the opened picture, its size checked, and the EXIF orientation still to be applied."""
    # Pillow's own limit stays as a backstop: some plugins allocate what the header claims while opening.
    backstop = 2 * (Image.MAX_IMAGE_PIXELS or max_pixels)
    try:
        check_structure(data)
        with Image.open(MeteredStream(data), formats=FORMATS) as picture:
            check_size(picture, max_pixels)
            if picture.info.get("default_image"):
                picture.seek(1)  # of an APNG: what is shown where animations are not known comes first
            yield picture, _orientation(picture)
    except ServiceError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(
            f"the image has more than {backstop} pixels; at most {min(max_pixels, backstop)} are accepted"
        ) from error
    except UnidentifiedImageError as error:
        raise UnsupportedImage(
            "the file is no image that can be read; JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF are"
        ) from error
    # Decoders answer damage with whatever they trip over: OSError, SyntaxError, ValueError, struct.error, …
    except Exception as error:
        raise UnsupportedImage(
            "the image is truncated or damaged; upload a file that opens in an image viewer"
        ) from error


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, still to be applied.

    Only EXIF before the pixels counts, so that the header alone tells the size; Pillow's `getexif` would
    decode a PNG to look behind them, and take an orientation from XMP.
    """
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        picture.info.pop("xmp", None)
        return 1  # Pillow applies a TIFF's orientation itself, to the size as well
    exif = Image.Exif()
    try:
        exif.load(picture.info.get("exif", b""))
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF makes no damaged picture
        return 1
    return orientation if orientation in _TRANSPOSE_OF_ORIENTATION else 1


def _oriented(picture: Image.Image, orientation: int) -> Image.Image:
    transpose = _TRANSPOSE_OF_ORIENTATION.get(orientation)
    return picture if transpose is None else picture.transpose(transpose)


def _over(picture: Image.Image, background: str) -> Image.Image:
    """Bring any mode to RGB, what is transparent over `background`."""
    if picture.mode.startswith("I;16"):
        picture = _from_16_bits(np.asarray(picture))
    elif picture.mode in ("I", "F"):
        picture = _stretched(np.asarray(picture, np.float32))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        canvas = Image.new("RGBA", picture.size, background)
        picture = Image.alpha_composite(canvas, picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _from_16_bits(values: NDArray[np.uint16]) -> Image.Image:
    """Scale 0…65535 to 0…255, rounded."""
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _stretched(values: NDArray[np.float32]) -> Image.Image:
    """Scale 32-bit values, which know no white: the greatest becomes 255, zero or the least 0."""
    finite = values[np.isfinite(values)]
    least = min(float(finite.min(initial=0.0)), 0.0)
    greatest = float(finite.max(initial=0.0))
    scale = 255 / (greatest - least) if greatest > least else 0.0
    clipped = np.nan_to_num(values, nan=least, posinf=greatest, neginf=least)
    return Image.fromarray(np.rint((clipped - least) * scale).astype(np.uint8))
