"""Scenes composed of things before a ground, with the masks of the objects and their parts."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.quickstart.cutouts import Material
from models.quickstart.grounds import Colours, blur, cropped, fractal, surface
from models.quickstart.things import Thing, random_thing

SUBPART, PART, WHOLE = 0, 1, 2
_PHOTO_GROUNDS = 0.75
_LEAST_CONTRAST = 12  # grey levels between a thing's rim and what is behind it


@dataclass(frozen=True)
class Scene:
    """A picture and what is to be seen in it.

    Attributes:
        image: uint8 [H,W,3], RGB.
        levels: uint8 [3,H,W]; on each level pixels with the same number > 0 form one visible thing: a subpart,
            a part of which the subpart is a piece, and the whole object. Numbers are unique within a level.
    """

    image: NDArray[np.uint8]
    levels: NDArray[np.uint8]


def compose(size: int, rng: Generator, material: Material) -> Scene:
    """Compose a scene whose longer side is `size` pixels."""
    height = width = size
    if rng.random() < 0.5:
        shorter = int(size * rng.uniform(0.55, 1))
        height, width = (shorter, size) if rng.random() < 0.3 else (size, shorter)
        if rng.random() < 0.5:
            height, width = width, height
    canvas = _ground(height, width, rng, material)
    levels = np.zeros((3, height, width), np.uint8)
    counts = [0, 0, 0]
    count = int(rng.integers(1, 8))
    for _ in range(count):
        # Few objects may be large: the last would hide all others.
        side = int(size * (0.1 + (1.0 if count < 4 else 0.6) * rng.random() ** 1.2))
        _place(canvas, levels, counts, random_thing(side, rng, material), rng)
    return Scene(_photograph(canvas, rng), levels)


def _ground(height: int, width: int, rng: Generator, material: Material) -> Colours:
    if material.grounds and rng.random() < _PHOTO_GROUNDS:
        canvas = cropped(material.grounds[rng.integers(len(material.grounds))], height, width, rng)
    else:
        canvas = surface(height, width, rng, material.patterns)
    if rng.random() < 0.2:  # a table before a wall
        edge = int(height * rng.uniform(0.3, 0.8))
        slope = rng.normal(0, 0.1)
        below = np.arange(height)[:, None] > edge + slope * np.arange(width)[None]
        other = surface(height, width, rng, material.patterns)
        canvas = np.where(below[..., None], other, canvas)
    return canvas


def _place(canvas: Colours, levels: NDArray[np.uint8], counts: list[int], thing: Thing, rng: Generator) -> None:
    """Draw the thing somewhere on the canvas, with its shadow, and enter it into the levels."""
    height, width = canvas.shape[:2]
    h, w = thing.alpha.shape
    # A quarter of it may be outside.
    y = int(rng.uniform(min(-h / 4, height - h), max(height - h * 3 / 4, 0)))
    x = int(rng.uniform(min(-w / 4, width - w), max(width - w * 3 / 4, 0)))
    if rng.random() < 0.35:
        _cast_shadow(canvas, thing.alpha, y, x, rng)
    y0, x0, y1, x1 = max(0, y), max(0, x), min(height, y + h), min(width, x + w)
    if y1 - y0 < 4 or x1 - x0 < 4:
        return
    here = slice(y0, y1), slice(x0, x1)
    there = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
    alpha = thing.alpha[there]
    visible = alpha > 0.5
    colours = thing.colours[there]
    if rng.random() < 0.5 and visible.any():
        colours = _matched(colours, canvas[here], visible, rng)
    colours = _set_off(colours, canvas[here], visible)
    canvas[here] += (colours - canvas[here]) * alpha[..., None]
    whole = np.ones_like(visible, dtype=np.uint8)
    for level, numbers in ((SUBPART, thing.subparts[there]), (PART, thing.parts[there]), (WHOLE, whole)):
        fresh = np.where(numbers > 0, numbers + counts[level], 0).astype(np.uint8)
        levels[level][here][visible] = fresh[visible]
        counts[level] += int(numbers.max())


def _matched(colours: Colours, behind: Colours, visible: NDArray[np.bool_], rng: Generator) -> Colours:
    """Return the colours with mean and contrast drawn towards those of what is behind: one light on both."""
    share = rng.uniform(0, 0.7)
    own, other = colours[visible], behind.reshape(-1, 3)
    contrast = 1 + share * (np.clip(other.std(0) / (own.std(0) + 1), 0.6, 1.6) - 1)
    mean = own.mean(0)
    return np.clip((colours - mean) * contrast + mean + share * (other.mean(0) - mean), 0, 255).astype(np.float32)


def _set_off(colours: Colours, behind: Colours, visible: NDArray[np.bool_]) -> Colours:
    """Return the colours, made lighter or darker if nobody could tell the thing from what is behind it."""
    inside = cv2.erode(visible.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, max(visible.shape) // 50))
    rim = visible & (inside == 0)
    if not rim.any() or np.abs(colours - behind)[rim].max(-1).mean() > _LEAST_CONTRAST:
        return colours
    return np.clip(colours + (50 if behind[rim].mean() < 128 else -50), 0, 255)


def _cast_shadow(canvas: Colours, alpha: NDArray[np.float32], y: int, x: int, rng: Generator) -> None:
    height, width = canvas.shape[:2]
    reach = 0.12 * max(alpha.shape)
    move = np.array([[1, 0, x + rng.normal(0, reach)], [0, 1, y + abs(rng.normal(0, reach))]], np.float32)
    shadow = cv2.warpAffine(alpha, move, (width, height))
    shadow = blur(shadow, rng.uniform(0.01, 0.08) * max(alpha.shape) + 0.5)
    canvas *= 1 - rng.uniform(0.15, 0.6) * shadow[..., None]


def _photograph(canvas: Colours, rng: Generator) -> NDArray[np.uint8]:
    """Return what a camera makes of it: light, focus, noise, tone, compression."""
    height, width = canvas.shape[:2]
    if rng.random() < 0.4:
        canvas = canvas * (1 - rng.uniform(0.1, 0.5) * fractal(height, width, rng, 2, 1))[..., None]
    if rng.random() < 0.1:  # haze: low contrast
        canvas = canvas * 0.5 + rng.uniform(20, 110)
    if rng.random() < 0.5:
        canvas = blur(canvas, 0.3 + rng.random() * max(height, width) / 500)
    tone, tint = rng.uniform(0.6, 1.5), 255 * rng.uniform(0.75, 1.15, 3).astype(np.float32)
    canvas = cv2.pow(np.clip(canvas, 0, 255) / 255, tone) * tint
    if rng.random() < 0.06:
        canvas = np.repeat(canvas.mean(2, keepdims=True), 3, axis=2)
    canvas = canvas + rng.standard_normal(canvas.shape, np.float32) * rng.uniform(0, 8)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image
