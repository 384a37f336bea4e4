"""Outlines drawn by formula: discs, boxes, stars, blobs and polygons."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

KINDS = ("disc", "square", "star", "ellipse", "rectangle", "rounded", "polygon", "blob", "ring", "bar")
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def shape(size: int, rng: Generator, kind: str | None = None) -> NDArray[np.uint8]:
    """Return a filled shape: uint8 [size,size], 0…255 with anti-aliased edges, touching no border."""
    kind = kind or str(rng.choice(KINDS))
    turn = rng.uniform(0, 2 * np.pi)
    aspect = 1.0 if kind in {"disc", "square"} else rng.uniform(0.35, 1)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    if kind in {"disc", "ellipse", "ring"}:
        outline = _turned(np.cos(angles), aspect * np.sin(angles), turn)
    elif kind in {"square", "rectangle"}:
        outline = _turned(*np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]]) * [[0.7], [0.7 * aspect]], turn)
    elif kind == "bar":
        outline = _turned(*np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]]) * [[0.97], [rng.uniform(0.06, 0.2)]], turn)
    elif kind == "rounded":
        power = rng.uniform(0.2, 0.6)
        x, y = np.cos(angles), np.sin(angles)
        outline = _turned(0.75 * np.sign(x) * abs(x) ** power, 0.75 * aspect * np.sign(y) * abs(y) ** power, turn)
    elif kind == "star":
        points = int(rng.integers(4, 9))
        a = np.arange(2 * points) * np.pi / points
        radius = np.where(np.arange(2 * points) % 2, rng.uniform(0.35, 0.65), 1.0)
        outline = _turned(radius * np.cos(a), radius * np.sin(a), turn)
    elif kind == "polygon":
        a = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        radius = rng.uniform(0.5, 1, len(a))
        outline = _turned(radius * np.cos(a), radius * np.sin(a), turn)
    else:
        radius = np.ones_like(angles)
        for frequency in range(2, 7):
            radius += rng.normal(0, 0.35 / frequency) * np.cos(frequency * angles + rng.uniform(0, 2 * np.pi))
        radius = np.clip(radius, 0.25, None)
        outline = _turned(radius * np.cos(angles), aspect * radius * np.sin(angles), turn)
        outline /= max(1.0, float(np.abs(outline).max()))
    canvas = np.zeros((size, size), np.uint8)
    _fill(canvas, outline, 255)
    if kind == "ring":
        _fill(canvas, outline * rng.uniform(0.3, 0.75), 0)
    return canvas


def _turned(x: NDArray[np.float64], y: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Return points [N,2] in -1…1, rotated."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * x - s * y, s * x + c * y], axis=1)


def _fill(canvas: NDArray[np.uint8], outline: NDArray[np.float64], value: int) -> None:
    size = canvas.shape[0]
    points = ((size - 1) / 2 + outline * (size / 2 - 3)) * 2**_SHIFT
    cv2.fillPoly(canvas, [points.round().astype(np.int32)], value, cv2.LINE_AA, _SHIFT)
