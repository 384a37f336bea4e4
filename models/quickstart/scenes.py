"""Scenes composed of cut-outs and drawn shapes, with the masks of their objects and parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.quickstart.grounds import Colours, blur, fractal, surface
from models.quickstart.shapes import shape
from models.quickstart.sprites import Sprite

SUBPART, PART, WHOLE = 0, 1, 2
_LEAST_CONTRAST = 15  # grey levels between a thing's rim and what is behind it


@dataclass(frozen=True)
class Material:
    """What scenes of one split are made of."""

    sprites: Sequence[Sprite]
    patterns: Sequence[NDArray[np.uint8]]
    held_out: bool = False


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


@dataclass(frozen=True)
class _Thing:
    """An object before it is placed: colours, opacity 0…1 [H,W] and the numbers of its pieces on two levels."""

    colours: Colours
    alpha: NDArray[np.float32]
    subparts: NDArray[np.uint8]
    parts: NDArray[np.uint8]


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
        side = int(size * (0.1 + (0.95 if count < 4 else 0.6) * rng.random() ** 1.5))
        _place(canvas, levels, counts, _thing(side, rng, material), rng)
    return Scene(_photograph(canvas, rng), levels)


def _ground(height: int, width: int, rng: Generator, material: Material) -> Colours:
    canvas = surface(height, width, rng, material.patterns, material.held_out)
    if rng.random() < 0.25:  # a table before a wall
        edge = int(height * rng.uniform(0.3, 0.8))
        slope = rng.normal(0, 0.1)
        below = np.arange(height)[:, None] > edge + slope * np.arange(width)[None]
        other = surface(height, width, rng, material.patterns, material.held_out)
        canvas = np.where(below[..., None], other, canvas)
    return canvas


def _thing(side: int, rng: Generator, material: Material) -> _Thing:
    kind = rng.random()
    if material.sprites and kind < 0.58:
        thing = _cut_out(side, rng, material)
    elif kind < 0.9:
        thing = _drawn(side, rng, material)
    else:
        thing = _emblem(side, rng, material)
    if rng.random() < 0.6:
        thing = _shaded(thing, rng)
    return thing


def _cut_out(side: int, rng: Generator, material: Material) -> _Thing:
    sprite = material.sprites[rng.integers(len(material.sprites))]
    rgba, parts = sprite.rgba, sprite.parts
    if rng.random() < 0.5:
        rgba, parts = rgba[:, ::-1], parts[:, ::-1]
    if rng.random() < 0.5:
        rgba, parts = _warped(rgba, parts, rng)
    scale = side / max(rgba.shape[:2])
    size = (max(6, int(rgba.shape[1] * scale)), max(6, int(rgba.shape[0] * scale)))
    rgba = cv2.resize(
        np.ascontiguousarray(rgba), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    ).astype(np.float32)
    parts = cv2.resize(np.ascontiguousarray(parts), size, interpolation=cv2.INTER_NEAREST)
    colours = rgba[..., :3]
    if rng.random() < 0.35:
        colours = colours[..., rng.permutation(3)]
    if rng.random() < 0.35:
        colours = 255 * (colours / 255) ** rng.uniform(0.5, 2)
    if rng.random() < 0.15:  # a silhouette of stuff: only the surface tells it from the ground
        colours = 0.25 * colours + 0.75 * surface(size[1], size[0], rng, material.patterns, material.held_out)
        parts = np.zeros_like(parts)
    return _Thing(colours, rgba[..., 3] / 255, parts, np.zeros_like(parts))


def _drawn(side: int, rng: Generator, material: Material) -> _Thing:
    """A shape, with up to three smaller shapes on it."""
    side = max(side, 12)
    alpha = shape(side, rng).astype(np.float32) / 255
    colours = surface(side, side, rng, material.patterns, material.held_out)
    parts = np.zeros((side, side), np.uint8)
    for number in range(1, int(rng.integers(1, 4)) + 1 if rng.random() < 0.35 else 1):
        inner = max(8, int(side * rng.uniform(0.15, 0.5)))
        y, x = rng.integers(0, side - inner + 1, 2)
        area = slice(y, y + inner), slice(x, x + inner)
        opacity = shape(inner, rng).astype(np.float32) / 255 * alpha[area]
        fill = surface(inner, inner, rng, material.patterns, material.held_out)
        colours[area] += (fill - colours[area]) * opacity[..., None]
        parts[area][opacity > 0.5] = number
    return _Thing(colours, alpha, parts, np.zeros_like(parts))


def _emblem(side: int, rng: Generator, material: Material) -> _Thing:
    """A thing on a plate: the thing is a part of the whole, its own parts are subparts."""
    side = max(side, 24)
    plate = shape(side, rng, str(rng.choice(["ellipse", "rectangle", "rounded"]))).astype(np.float32) / 255
    colours = surface(side, side, rng, material.patterns, material.held_out)
    subparts, parts = np.zeros((2, side, side), np.uint8)
    inner_side = int(side * rng.uniform(0.3, 0.6))
    draw = _cut_out if material.sprites and rng.random() < 0.7 else _drawn
    inner = draw(inner_side, rng, material)
    height, width = inner.alpha.shape
    y, x = (side - height) // 2, (side - width) // 2
    area = slice(y, y + height), slice(x, x + width)
    opacity = inner.alpha * plate[area]
    colours[area] += (inner.colours - colours[area]) * opacity[..., None]
    visible = opacity > 0.5
    parts[area][visible] = 1
    subparts[area][visible] = inner.subparts[visible]
    return _Thing(colours, plate, subparts, parts)


def _warped(
    rgba: NDArray[np.uint8], parts: NDArray[np.uint8], rng: Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return picture and parts turned and stretched by a random affine map, with nothing cut off."""
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.3 else rng.normal(0, 0.25)
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, -s], [s, c]]) @ np.diag(rng.uniform(0.65, 1, 2))
    height, width = rgba.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix.T
    low, high = corners.min(0), corners.max(0)
    size = tuple(int(v) for v in np.ceil(high - low) + 1)
    matrix = np.hstack([matrix, -low[:, None]]).astype(np.float32)
    return (
        cv2.warpAffine(np.ascontiguousarray(rgba), matrix, size, flags=cv2.INTER_LINEAR),
        cv2.warpAffine(np.ascontiguousarray(parts), matrix, size, flags=cv2.INTER_NEAREST),
    )


def _shaded(thing: _Thing, rng: Generator) -> _Thing:
    """Return the thing with light on it: brighter to one side, round at its edges, perhaps a highlight."""
    height, width = thing.alpha.shape
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    light = 1 + rng.uniform(0, 0.5) * (np.cos(angle) * x + np.sin(angle) * y)
    if rng.random() < 0.4:
        depth = blur(thing.alpha, 0.04 * max(height, width) + 0.5)
        light = light * (1 - rng.uniform(0.2, 0.6) * (1 - depth) * 2).clip(0.3, 1)
    if rng.random() < 0.3:
        light = light * (0.75 + 0.5 * fractal(height, width, rng))
    colours = thing.colours * light[..., None]
    if rng.random() < 0.3:
        spot = np.exp(
            -((x - rng.uniform(-0.6, 0.6)) ** 2 + (y - rng.uniform(-0.6, 0.6)) ** 2) / rng.uniform(0.01, 0.08)
        )
        colours = colours + (rng.uniform(60, 220) * spot)[..., None]
    return _Thing(np.clip(colours, 0, 255), thing.alpha, thing.subparts, thing.parts)


def _place(canvas: Colours, levels: NDArray[np.uint8], counts: list[int], thing: _Thing, rng: Generator) -> None:
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
    colours = _set_off(thing.colours[there], canvas[here], visible)
    canvas[here] += (colours - canvas[here]) * alpha[..., None]
    whole = np.ones_like(visible, dtype=np.uint8)
    for level, numbers in ((SUBPART, thing.subparts[there]), (PART, thing.parts[there]), (WHOLE, whole)):
        fresh = np.where(numbers > 0, numbers + counts[level], 0).astype(np.uint8)
        levels[level][here][visible] = fresh[visible]
        counts[level] += int(numbers.max())


def _set_off(colours: Colours, behind: Colours, visible: NDArray[np.bool_]) -> Colours:
    """Return the colours, made lighter or darker if nobody could tell the thing from what is behind it."""
    inside = cv2.erode(visible.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, max(visible.shape) // 50))
    rim = visible & (inside == 0)
    if not rim.any() or np.abs(colours - behind)[rim].max(-1).mean() > _LEAST_CONTRAST:
        return colours
    return np.clip(colours + (70 if behind[rim].mean() < 128 else -70), 0, 255)


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
    if rng.random() < 0.15:  # haze: low contrast
        canvas = canvas * 0.5 + rng.uniform(20, 110)
    if rng.random() < 0.5:
        canvas = blur(canvas, 0.3 + rng.random() * max(height, width) / 500)
    tone, tint = rng.uniform(0.6, 1.5), 255 * rng.uniform(0.75, 1.15, 3).astype(np.float32)
    canvas = cv2.pow(np.clip(canvas, 0, 255) / 255, tone) * tint
    if rng.random() < 0.15:
        canvas = np.repeat(canvas.mean(2, keepdims=True), 3, axis=2)
    canvas = canvas + rng.standard_normal(canvas.shape, np.float32) * rng.uniform(0, 8)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image
