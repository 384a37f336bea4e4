"""One picture in every format and mode that the service reads, and files that are harder to read."""

import io
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

HEIGHT, WIDTH = 48, 64

# XYZ of the primaries, adapted to D50 (https://www.color.org/chardata/rgb/DisplayP3.xalter).
DISPLAY_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}


def photo(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """RGB [height, width, 3]: smooth, its four corners of different colours."""
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    channels = (down + 0 * across, across + 0 * down, (1 - down) * (1 - across))
    return np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)


def grey(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Grey [height, width]: smooth, its four corners of different brightness, 0 and 255 included."""
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    return np.rint(255 * (0.7 * down + 0.3 * across)).astype(np.uint8)


def disc(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A mask [height, width]: 255 inside of an ellipse, 0 outside."""
    y, x = np.ogrid[:height, :width]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    inside = ((y - centre_y) / (0.3 * height)) ** 2 + ((x - centre_x) / (0.3 * width)) ** 2 <= 1
    return np.where(inside, 255, 0).astype(np.uint8)


def encoded(pixels: NDArray | Image.Image, format: str, **options: object) -> bytes:
    """Encode with Pillow."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def with_orientation(pixels: NDArray, orientation: int, format: str = "JPEG", **options: object) -> bytes:
    """A picture with an EXIF orientation tag, its pixels as given."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels, format, exif=exif, **options)


def display_p3() -> bytes:
    """The ICC profile of phones' photos: sRGB's curve, wider primaries."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    for i in range(count):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag in DISPLAY_P3:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in DISPLAY_P3[tag]))
    return bytes(profile)


def png_of(chunks: list[tuple[bytes, bytes]], *, width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of the given chunks between header and end."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [header, *chunks, (b"IEND", b"")]
    )


def tiff_of(tags: dict[int, tuple[str, list[int]]], data: bytes = b"") -> bytes:
    """A little-endian TIFF of the given tags (type "H" or "L", values), `data` following them."""
    offset = 8 + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        raw = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        entries += struct.pack("<HHI", tag, {"H": 3, "L": 4}[kind], len(numbers))
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", offset + len(values))
            values += raw
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values + data


def bmp_rle(width: int, height: int, runs: bytes) -> bytes:
    """A run-length encoded BMP of a grey ramp's colours, which Pillow reads but does not write."""
    palette = b"".join(bytes([value, value, value, 0]) for value in range(256))
    offset = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(runs), 0, 0, offset) + info + palette + runs


def gif_of(screen: tuple[int, int], frame: tuple[int, int], *, disposal: int = 0) -> bytes:
    """A GIF of almost no data whose header claims (width, height) of screen and first frame."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0x80, 0, 0)
        + b"\x00\x00\x00\xff\xff\xff"
        + b"!\xf9\x04"
        + bytes([disposal << 2, 0, 0, 0, 0])
        + b","
        + struct.pack("<HHHHB", 0, 0, *frame, 0)
        + b"\x02\x02\x44\x01\x00;"
    )


@dataclass(frozen=True)
class Picture:
    """A file, and what it must decode to.

    Attributes:
        data: the file.
        format: what it is.
        pixels: RGB [H, W, 3].
        tolerance: greatest mean difference in any channel that its compression explains.
    """

    data: bytes
    format: str
    pixels: NDArray[np.uint8]
    tolerance: float = 0.0


def _tifffile(pixels: NDArray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def _over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    a = alpha[..., None].astype(np.float64) / 255
    return np.rint(rgb * a + 255 * (1 - a)).astype(np.uint8)


def _rgb(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=-1)


def pictures() -> dict[str, Picture]:
    """Return every readable kind of picture by name."""
    colour, brightness, alpha = photo(), grey(), grey()[::-1].copy()
    rgba, la = np.dstack([colour, alpha]), np.dstack([brightness, alpha])
    over_white = _over_white(colour, alpha)
    other = np.full_like(colour, 128)
    black_or_white = disc() > 0
    palette = Image.fromarray(colour).quantize(64)
    from_palette = np.asarray(palette.convert("RGB"))
    holed = from_palette.copy()
    holed[np.asarray(palette) == 3] = 255
    words = brightness.astype(np.uint16) * 257
    wide = colour.astype(np.uint16) * 257
    floats = (brightness / 255).astype(np.float32)
    key = tuple(int(channel) for channel in colour[5, 7])
    keyed = colour.copy()
    keyed[(colour == key).all(axis=-1)] = 255
    cmyk = Image.fromarray(colour).convert("CMYK")

    found = {
        "jpeg": Picture(encoded(colour, "JPEG", quality=95), "JPEG", colour, 2),
        "jpeg progressive": Picture(encoded(colour, "JPEG", quality=95, progressive=True), "JPEG", colour, 2),
        "jpeg grey": Picture(encoded(brightness, "JPEG", quality=95), "JPEG", _rgb(brightness), 1),
        "jpeg cmyk": Picture(encoded(cmyk, "JPEG", quality=95), "JPEG", colour, 3),
        "jpeg multi-picture": Picture(
            encoded(colour, "MPO", save_all=True, append_images=[Image.fromarray(other)], quality=95),
            "MPO",
            colour,
            2,
        ),
        "png": Picture(encoded(colour, "PNG"), "PNG", colour),
        "png grey": Picture(encoded(brightness, "PNG"), "PNG", _rgb(brightness)),
        "png alpha": Picture(encoded(rgba, "PNG"), "PNG", over_white, 1),
        "png grey alpha": Picture(encoded(la, "PNG"), "PNG", _over_white(_rgb(brightness), alpha), 1),
        "png one bit": Picture(
            encoded(Image.fromarray(black_or_white), "PNG"), "PNG", _rgb(black_or_white * np.uint8(255))
        ),
        "png palette": Picture(encoded(palette, "PNG"), "PNG", from_palette),
        "png palette, transparent entry": Picture(encoded(palette, "PNG", transparency=3), "PNG", holed),
        "png palette, translucent entries": Picture(
            encoded(palette, "PNG", transparency=bytes([255, 255, 255, 0])), "PNG", holed
        ),
        "png transparent colour": Picture(encoded(colour, "PNG", transparency=key), "PNG", keyed),
        "png grey 16 bit": Picture(encoded(words, "PNG"), "PNG", _rgb(brightness)),
        "png 16 bit": Picture(cv2.imencode(".png", wide[..., ::-1])[1].tobytes(), "PNG", colour),
        "png animated": Picture(
            encoded(colour, "PNG", save_all=True, append_images=[Image.fromarray(other)]), "PNG", colour
        ),
        "png animated, another picture for viewers that show one": Picture(
            encoded(other, "PNG", save_all=True, default_image=True, append_images=[Image.fromarray(colour)]),
            "PNG",
            colour,
        ),
        "webp": Picture(encoded(colour, "WEBP", quality=95), "WEBP", colour, 3),
        "webp lossless": Picture(encoded(colour, "WEBP", lossless=True), "WEBP", colour),
        "webp alpha": Picture(encoded(rgba, "WEBP", lossless=True, exact=True), "WEBP", over_white, 1),
        "webp animated": Picture(
            encoded(colour, "WEBP", save_all=True, append_images=[Image.fromarray(other)], lossless=True),
            "WEBP",
            colour,
        ),
        "gif": Picture(encoded(palette, "GIF"), "GIF", from_palette),
        "gif transparent": Picture(encoded(palette, "GIF", transparency=3), "GIF", holed),
        "gif animated": Picture(
            encoded(palette, "GIF", save_all=True, append_images=[Image.fromarray(other).quantize(4)]),
            "GIF",
            from_palette,
        ),
        "bmp": Picture(encoded(colour, "BMP"), "BMP", colour),
        "bmp palette": Picture(encoded(palette, "BMP"), "BMP", from_palette),
        "bmp one bit": Picture(
            encoded(Image.fromarray(black_or_white), "BMP"), "BMP", _rgb(black_or_white * np.uint8(255))
        ),
        "bmp run-length encoded": Picture(
            bmp_rle(4, 2, b"\x04\x80\x00\x00\x04\x10\x00\x01"),
            "BMP",
            _rgb(np.array([[0x10] * 4, [0x80] * 4], np.uint8)),
        ),
        "tiff": Picture(encoded(colour, "TIFF"), "TIFF", colour),
        "tiff alpha": Picture(encoded(rgba, "TIFF"), "TIFF", over_white, 1),
        "tiff cmyk": Picture(encoded(cmyk, "TIFF"), "TIFF", colour, 1),
        "tiff lab": Picture(encoded(_lab(colour), "TIFF"), "TIFF", colour, 4),
        "tiff grey 16 bit": Picture(_tifffile(words), "TIFF", _rgb(brightness)),
        "tiff grey 16 bit big-endian": Picture(_tifffile(words, byteorder=">"), "TIFF", _rgb(brightness)),
        "tiff big": Picture(_tifffile(colour, bigtiff=True, photometric="rgb"), "TIFF", colour),
        "tiff 16 bit": Picture(_tifffile(wide, photometric="rgb"), "TIFF", colour),
        "tiff 32 bit integers": Picture(encoded(brightness.astype(np.int32) * 1000, "TIFF"), "TIFF", _rgb(brightness)),
        "tiff float": Picture(_tifffile(floats), "TIFF", _rgb(brightness)),
        "tiff float big-endian": Picture(_tifffile(floats, byteorder=">"), "TIFF", _rgb(brightness)),
        "tiff tiled": Picture(_tifffile(colour, tile=(16, 32), photometric="rgb"), "TIFF", colour),
        "tiff multi-page": Picture(
            encoded(colour, "TIFF", save_all=True, append_images=[Image.fromarray(other)]), "TIFF", colour
        ),
        "tiff one bit, fax": Picture(
            encoded(Image.fromarray(black_or_white), "TIFF", compression="group4"),
            "TIFF",
            _rgb(black_or_white * np.uint8(255)),
        ),
        "avif": Picture(encoded(colour, "AVIF", quality=95), "AVIF", colour, 3),
        "avif alpha": Picture(encoded(rgba, "AVIF", quality=100), "AVIF", over_white, 5),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        found[f"tiff {compression}"] = Picture(encoded(colour, "TIFF", compression=compression), "TIFF", colour)
    found["tiff jpeg"] = Picture(encoded(colour, "TIFF", compression="jpeg", quality=95), "TIFF", colour, 2)
    return found


def _lab(colour: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(colour).convert("LAB")
