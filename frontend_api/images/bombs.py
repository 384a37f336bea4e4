"""Refuses small files that would cost much time or memory to decode, before they do.

The number of pixels is not the only lever: each check here names what it is that a file can multiply.
"""

import io

from PIL import Image, TiffImagePlugin

from frontend_api.errors import ImageTooLarge, UnsupportedImage

_MOST_READS = 500_000
_LONGEST_SIDE = 65_535
_MOST_JPEG_SCANS = 100
_MOST_TIFF_PARTS = 100_000
_MOST_RLE_PIXELS = 4_000_000
_BIG_TIFF = 43


class MeteredStream(io.BytesIO):
    """Bytes that can be read only so many times.

    Pillow walks segments, chunks and blocks in Python, keeping most of them: a JPEG of 32 MB of empty
    segments would hold the interpreter for nine seconds and take a gigabyte.
    """

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does.

        Raises:
            UnsupportedImage: after `_MOST_READS` calls.
        """
        self._reads += 1
        if self._reads > _MOST_READS:
            raise UnsupportedImage("the image consists of too many parts; save it anew in an image editor")
        return super().read(size)


def check_structure(data: bytes) -> None:
    """Refuse what would be costly already while opening, or whatever the size of the picture.

    Raises:
        UnsupportedImage: a JPEG has too many scans, or a TIFF too many strips or tiles.
    """
    if data.startswith(b"\xff\xd8") and _jpeg_scans(data) > _MOST_JPEG_SCANS:
        # Each scan of a few bytes makes the decoder pass over all pixels. libtiff draws the line here too.
        raise UnsupportedImage(f"the JPEG has more than {_MOST_JPEG_SCANS} scans; save it anew in an image editor")
    if data[:4] in TiffImagePlugin.PREFIXES and _tiff_parts(data) > _MOST_TIFF_PARTS:
        # Pillow makes several objects for each, however small the picture is.
        raise UnsupportedImage(
            f"the TIFF has more than {_MOST_TIFF_PARTS} strips or tiles; save it anew in an image editor"
        )


def check_size(picture: Image.Image, max_pixels: int) -> None:
    """Refuse an opened picture that is too large to decode.

    Raises:
        ImageTooLarge: the picture, or one tile of it, has more than `max_pixels` pixels, or a side is longer
            than JPEG allows, 65535 pixels.
    """
    width, height = picture.size
    if max(width, height) > _LONGEST_SIDE:
        # Rows and columns cost too: Pillow keeps a pointer, and resizing several numbers, for each.
        raise ImageTooLarge(f"the image has {width}×{height} pixels; sides of at most {_LONGEST_SIDE} are accepted")
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width}×{height} = {width * height} pixels; at most {max_pixels} are accepted"
        )
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        # libtiff allocates a whole tile, of which the picture may be a corner.
        tile_width = int(picture.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0))
        tile_height = int(picture.tag_v2.get(TiffImagePlugin.TILELENGTH, 0))
        if tile_width * tile_height > max_pixels:
            raise ImageTooLarge(
                f"the image's tiles have {tile_width}×{tile_height} pixels; at most {max_pixels} are accepted"
            )
    if any(tile.codec_name == "bmp_rle" for tile in getattr(picture, "tile", ())) and (
        width * height > _MOST_RLE_PIXELS
    ):
        # Pillow decodes these in Python, pixel by pixel.
        raise ImageTooLarge(
            f"the run-length encoded BMP has {width}×{height} pixels; at most {_MOST_RLE_PIXELS} are accepted, "
            f"and {max_pixels} in other formats"
        )


def _jpeg_scans(data: bytes) -> int:
    """Count the scans of the (first) JPEG in a file, as far as the limit may be exceeded."""
    if data.count(b"\xff\xda") <= _MOST_JPEG_SCANS:  # by far the most, and the fastest
        return 0
    scans = 0
    place = 2
    # Entropy-coded data is passed over like any garbage between two segments, as libjpeg does.
    while (place := data.find(b"\xff", place)) >= 0:
        marker = data[place + 1 : place + 2]
        if marker in (b"", b"\xd9"):
            break
        if marker == b"\xff":
            place += 1
        elif marker in (b"\x00", b"\x01") or b"\xd0" <= marker <= b"\xd8":
            place += 2
        else:
            scans += marker == b"\xda"
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return scans


def _tiff_parts(data: bytes) -> int:
    """Count the strips or tiles of the first picture of a TIFF."""
    stream = MeteredStream(data)
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2] == _BIG_TIFF else 8])
    stream.seek(directory.next)
    directory.load(stream)
    return max(len(directory.get(tag, ())) for tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS))
