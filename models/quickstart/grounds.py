"""Surfaces: the procedural pictures that fill backgrounds and drawn shapes."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Colours = NDArray[np.float32]  # [H,W,3], RGB, 0…255
Gray = NDArray[np.float32]  # [H,W], 0…1

FAMILIES = ("plain", "gradient", "patches", "noise", "stripes", "checker", "grain", "specks", "blurred", "pattern")

_WIDE_BLUR = 4  # pixels of standard deviation


def surface(height: int, width: int, rng: Generator, patterns: Sequence[NDArray[np.uint8]]) -> Colours:
    """Return a surface of a random family, with a little noise; "pattern" and "blurred" are cut from patterns."""
    family = str(rng.choice(FAMILIES))
    if family in {"pattern", "blurred"} and not patterns:
        family = "plain"
    first = rng.uniform(0, 255, 3).astype(np.float32)
    # Many real surfaces vary about one colour only.
    second = (np.clip(first + rng.normal(0, 35, 3), 0, 255) if rng.random() < 0.5 else rng.uniform(0, 255, 3)).astype(
        np.float32
    )
    if family == "plain":
        image = np.broadcast_to(first, (height, width, 3)).copy()
    elif family == "patches":
        cells = int(rng.integers(2, 16))
        image = _stretch(rng.uniform(0, 255, (cells, cells, 3)), height, width, cv2.INTER_CUBIC)
    elif family in {"pattern", "blurred"}:
        image = cropped(patterns[rng.integers(len(patterns))], height, width, rng)
        if family == "blurred":
            image = blur(image, rng.uniform(0.01, 0.06) * max(height, width))
    else:
        mix = _MIXES[family](height, width, rng)[..., None]
        image = first * (1 - mix) + second * mix
    image = image + rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0, 8)
    return np.clip(image, 0, 255).astype(np.float32)


def blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return the image [H,W] or [H,W,3] blurred; a wide blur is made at a lower resolution, at a tenth of the cost."""
    height, width = image.shape[:2]
    factor = max(1, int(sigma / _WIDE_BLUR))
    small = cv2.resize(image, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def cropped(picture: NDArray[np.uint8], height: int, width: int, rng: Generator) -> Colours:
    """Return a random piece of a picture, a third of its sides or more, mirrored at random."""
    h, w = picture.shape[:2]
    # As the surface is shaped, lest a photo be squeezed; at most a quarter.
    ch = h * rng.uniform(0.3, 1)
    cw = min(w, ch * width / height * rng.uniform(0.8, 1.25))
    ch, cw = max(4, int(min(h, ch, 1.25 * cw * height / width))), max(4, int(cw))
    y, x = rng.integers(h - ch + 1), rng.integers(w - cw + 1)
    piece = picture[y : y + ch, x : x + cw]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    interpolation = cv2.INTER_AREA if cw > width else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(piece), (width, height), interpolation=interpolation).astype(np.float32)


def fractal(height: int, width: int, rng: Generator, coarsest: int = 2, octaves: int = 4) -> Gray:
    """Return cloudy noise, 0…1 [H,W]: octaves of stretched noise, each finer one half as strong."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = coarsest * 2**octave
        if cells > max(height, width):
            break
        total += _stretch(rng.random((cells, cells)), height, width, cv2.INTER_CUBIC) / 2**octave
    low, high = total.min(), total.max()
    return (total - low) / (high - low + 1e-6)


def _stretch(values: NDArray[np.float64], height: int, width: int, interpolation: int) -> NDArray[np.float32]:
    return cv2.resize(values.astype(np.float32), (width, height), interpolation=interpolation)


def _ramp(height: int, width: int, rng: Generator) -> Gray:
    """Return a coordinate along a random direction, in units of the longer side."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.arange(height, dtype=np.float32)[:, None] / max(height, width)
    x = np.arange(width, dtype=np.float32)[None] / max(height, width)
    return np.cos(angle) * x + np.sin(angle) * y


def _gradient(height: int, width: int, rng: Generator) -> Gray:
    ramp = _ramp(height, width, rng)
    return (ramp - ramp.min()) / (np.ptp(ramp) + 1e-6)


def _noise(height: int, width: int, rng: Generator) -> Gray:
    return fractal(height, width, rng, int(rng.integers(2, 24)))


def _stripes(height: int, width: int, rng: Generator) -> Gray:
    wave = np.sin(2 * np.pi * rng.uniform(2, 24) * _ramp(height, width, rng))
    return np.clip(wave * rng.uniform(1, 8), -1, 1) / 2 + 0.5


def _checker(height: int, width: int, rng: Generator) -> Gray:
    frequency = rng.uniform(2, 14) * np.pi
    waves = [np.sin(frequency * _ramp(height, width, rng)) for _ in range(2)]
    return np.clip(waves[0] * waves[1] * 8, -1, 1) / 2 + 0.5


def _grain(height: int, width: int, rng: Generator) -> Gray:
    """Wood: stripes bent by clouds."""
    bend = fractal(height, width, rng, 2, 3)
    return (
        np.sin(2 * np.pi * rng.uniform(3, 12) * (_ramp(height, width, rng) + rng.uniform(0.05, 0.4) * bend)) / 2 + 0.5
    )


def _specks(height: int, width: int, rng: Generator) -> Gray:
    """Gravel, grass, foliage: clouds cut at a level."""
    clouds = fractal(height, width, rng, int(rng.integers(8, 40)), 2)
    return np.clip((clouds - 0.5) * rng.uniform(3, 20), -0.5, 0.5) + 0.5


_MIXES = {
    "gradient": _gradient,
    "noise": _noise,
    "stripes": _stripes,
    "checker": _checker,
    "grain": _grain,
    "specks": _specks,
}
