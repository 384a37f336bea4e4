"""Pictures to calibrate and to compare with: a folder of photos, or drawn ones where none are given."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from export.errors import UnusablePictures
from export.networks.sam import IMAGE_SIZE

MOST = 8  # pictures; more would take longer and tell little more
_DRAWN = 4

Frame = tuple[NDArray[np.uint8], NDArray[np.int32]]


def frames(folder: Path | None) -> list[Frame]:
    """Return pictures as the encoder's graph takes them: image uint8 [1,1024,1024,3] and image_size int32 [1,2].

    Args:
        folder: photos, the first MOST of which are taken; None for drawn pictures.

    Raises:
        UnusablePictures: if the folder cannot be read or holds no picture.
    """
    if folder is None:
        return [_frame(drawn(seed)) for seed in range(_DRAWN)]
    pictures = [_frame(photo) for photo in islice(_photos(folder), MOST)]
    if not pictures:
        raise UnusablePictures(f"{folder} holds no picture; give a folder of photos such as those to be served.")
    return pictures


def drawn(seed: int) -> NDArray[np.uint8]:
    """Draw a picture of textured shapes before a textured ground: uint8 [H,W,3] RGB."""
    rng = np.random.default_rng(seed)
    height, width = (768, 1024) if seed % 2 else (1024, 896)
    canvas = _texture(rng, height, width)
    for _ in range(7):
        mask = np.zeros((height, width), np.uint8)
        x, y = rng.integers((0, 0), (width, height)).tolist()
        if rng.random() < 0.5:
            axes = (rng.uniform(0.04, 0.25, 2) * width).astype(int).tolist()
            cv2.ellipse(mask, (x, y), axes, rng.uniform(0, 360), 0, 360, [255], -1, cv2.LINE_AA)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
            rays = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.06, 0.25, (len(angles), 1)) * width
            cv2.fillPoly(mask, [(rays + np.array([x, y])).astype(np.int32)], [255], cv2.LINE_AA)
        canvas += (_texture(rng, height, width) - canvas) * (mask[..., None] / 255)
    return (canvas + rng.normal(0, 4, canvas.shape)).clip(0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Return a random colour with soft blotches of a random size: float64 [H,W,3]."""
    cells = int(rng.choice([2, 4, 16, 64]))
    blotches = rng.normal(0, 25, (cells, cells, 3))
    soft = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(soft, np.float64) + rng.uniform(20, 235, 3)


def _photos(folder: Path) -> Iterator[NDArray[np.uint8]]:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UnusablePictures(f"The pictures in {folder} cannot be read: {error.strerror or error}.") from error
    for file in files:
        try:
            with Image.open(file) as image:
                yield np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except OSError:  # no picture, or a damaged one
            continue


def _frame(picture: NDArray[np.uint8]) -> Frame:
    height, width = picture.shape[:2]
    scale = IMAGE_SIZE / max(height, width)
    size = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
    resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    frame = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    frame[0, : size[1], : size[0]] = resized
    return frame, np.array([[size[1], size[0]]], np.int32)
