"""A fast PNG encoder: one filter for all lines, ISA-L's deflate.

About eight times as fast as Pillow's or OpenCV's fastest setting at about the same size
(`benchmarks/png.py`). It releases the interpreter lock while it works.
"""

import struct

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGBA = 0, 6
_SUB = 1
_LEVEL = 1


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture losslessly.

    Args:
        pixels: grey, [H, W], or RGBA, [H, W, 4]; at least one pixel.

    Returns:
        A PNG (https://www.w3.org/TR/png-3/) of 8 bits per channel.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    # Each byte as the difference to that of the pixel on its left: filter type 1, "Sub".
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    lines = np.empty((height, 1 + width * channels), np.uint8)
    lines[:, 0] = _SUB
    lines[:, 1 : 1 + channels] = rows[:, :channels]
    np.subtract(rows[:, channels:], rows[:, :-channels], out=lines[:, 1 + channels :])

    colour_type = _GREY if channels == 1 else _RGBA
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    body = isal_zlib.compress(lines, _LEVEL)
    return b"".join([_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", body), *_chunk(b"IEND", b"")])


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    checksum = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)
