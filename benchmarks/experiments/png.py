"""Compares ways to write the service's PNGs: time on one thread, time of three at once in threads, size.

    uv run --group test --with fpng --with zlib-ng python -m benchmarks.experiments.png [PHOTO ...]

Without photos it takes two of scikit-image's. fpng and zlib-ng are left out where they are not installed.
"""

import io
import statistics
import struct
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from frontend_api.masks.png import encode_png

Pixels = NDArray[np.uint8]
Encoder = Callable[[Pixels], bytes]


def minimal_png(pixels: Pixels, filter_type: int, deflate: Callable[[Pixels], bytes]) -> bytes:
    """A PNG of three chunks whose lines all use one filter: 0 none, 1 sub, 2 up."""
    height, width = pixels.shape[:2]
    step = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    lines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = filter_type
    if filter_type == 0:
        lines[:, 1:] = rows
    elif filter_type == 1:
        lines[:, 1 : 1 + step] = rows[:, :step]
        np.subtract(rows[:, step:], rows[:, :-step], out=lines[:, 1 + step :])
    else:
        lines[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[step], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", deflate(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        for kind, body in chunks
    )


def pillow(level: int) -> Encoder:
    """Pillow's encoder."""

    def encode(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=level)
        return buffer.getvalue()

    return encode


def opencv(*parameters: int) -> Encoder:
    """OpenCV's encoder (the order of colours does not matter to its speed)."""
    return lambda pixels: cv2.imencode(".png", pixels, parameters)[1].tobytes()


def encoders() -> dict[str, Encoder]:
    """Every encoder that is installed."""
    level, strategy = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY
    found = {
        "this service": encode_png,
        "Pillow 6 (its default)": pillow(6),
        "Pillow 1": pillow(1),
        "OpenCV 1": opencv(level, 1),
        "OpenCV 1 RLE": opencv(level, 1, strategy, cv2.IMWRITE_PNG_STRATEGY_RLE),
        "OpenCV 1 filtered": opencv(level, 1, strategy, cv2.IMWRITE_PNG_STRATEGY_FILTERED),
    }
    for name, kind in (("none", 0), ("sub", 1), ("up", 2)):
        for isal_level in (0, 1):
            found[f"isal {isal_level}, {name}"] = lambda pixels, kind=kind, isal_level=isal_level: minimal_png(
                pixels, kind, lambda lines: isal_zlib.compress(lines, isal_level)
            )
        found[f"zlib 1, {name}"] = lambda pixels, kind=kind: minimal_png(
            pixels, kind, lambda lines: zlib.compress(lines, 1)
        )
    if find_spec("zlib_ng"):
        zlib_ng = import_module("zlib_ng.zlib_ng")
        found["zlib-ng 1, up"] = lambda pixels: minimal_png(pixels, 2, lambda lines: zlib_ng.compress(lines, 1))
    if find_spec("fpng"):
        found["fpng"] = import_module("fpng").from_ndarray
    return found


def pictures(photos: list[Path]) -> dict[str, Pixels]:
    """Soft grey masks and cut-outs under an elliptic feathered alpha."""
    originals = (
        {photo.stem: np.asarray(Image.open(photo).convert("RGB")) for photo in photos}
        if photos
        else {"astronaut": data.astronaut(), "coffee": data.coffee()}
    )
    found: dict[str, Pixels] = {}
    for name, original in originals.items():
        photo = cv2.resize(original, (1800, 1200), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros((1200, 1800), np.uint8)
        cv2.ellipse(mask, (900, 600), (700, 450), 15, 0, 360, 255, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 4)
        found.setdefault("mask", mask)
        found[name] = np.dstack([np.where(mask[..., None] > 0, photo, 0), mask]).astype(np.uint8)
    return found


def milliseconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The median of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Prints the table."""
    cv2.setNumThreads(1)
    print(f"{'picture':12} {'encoder':24} {'one, ms':>8} {'three, ms':>10} {'KB':>7}")
    with ThreadPoolExecutor(3) as pool:
        for picture, pixels in pictures([Path(argument) for argument in sys.argv[1:]]).items():
            for name, encode in encoders().items():
                if name == "fpng" and pixels.ndim == 2:
                    continue  # 24 and 32 bits only
                decoded = np.asarray(Image.open(io.BytesIO(encode(pixels))))
                if not name.startswith("OpenCV"):
                    assert np.array_equal(decoded, pixels)
                one = milliseconds(lambda encode=encode, pixels=pixels: encode(pixels))
                three = milliseconds(lambda encode=encode, pixels=pixels: list(pool.map(encode, [pixels] * 3)))
                print(f"{picture:12} {name:24} {one:8.1f} {three:10.1f} {len(encode(pixels)) / 1000:7.0f}")


if __name__ == "__main__":
    main()
