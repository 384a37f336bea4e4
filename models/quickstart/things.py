"""Things before they are placed in a scene: cut-out photos and drawings, drawn shapes, and things on things."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.quickstart.cutouts import CutOut, Material
from models.quickstart.grounds import Colours, blur, fractal, surface
from models.quickstart.shapes import shape


@dataclass(frozen=True)
class Thing:
    """An object before it is placed: colours, opacity 0…1 [H,W] and the numbers of its pieces on two levels."""

    colours: Colours
    alpha: NDArray[np.float32]
    subparts: NDArray[np.uint8]
    parts: NDArray[np.uint8]


def random_thing(side: int, rng: Generator, material: Material) -> Thing:
    """Return something whose longer side is about `side` pixels."""
    kind = rng.random()
    if kind < 0.6:
        thing = _photographic(side, rng, material)
    elif kind < 0.78:
        thing = _cut_out(side, rng, material)
    elif kind < 0.88:
        thing = _drawn(side, rng, material)
    else:
        thing = _emblem(side, rng, material)
    if rng.random() < 0.5:
        thing = _shaded(thing, rng)
    return thing


def _photographic(side: int, rng: Generator, material: Material) -> Thing:
    if not material.photos:
        return _cut_out(side, rng, material)
    rgba, parts = _resized(material.photos[rng.integers(len(material.photos))], side, rng)
    colours = rgba[..., :3]
    if rng.random() < 0.5:  # another specimen
        colours = 255 * (colours / 255) ** rng.uniform(0.6, 1.6, 3).astype(np.float32)
    if rng.random() < 0.1:
        colours = colours[..., rng.permutation(3)]
    return Thing(colours, rgba[..., 3] / 255, parts, np.zeros_like(parts))


def _resized(cutout: CutOut, side: int, rng: Generator) -> tuple[Colours, NDArray[np.uint8]]:
    """Return a cut-out's colours and alpha [H,W,4] and its parts, mirrored and warped at random."""
    rgba = cutout.rgba
    parts = np.zeros(rgba.shape[:2], np.uint8) if cutout.parts is None else cutout.parts
    if rng.random() < 0.5:
        rgba, parts = rgba[:, ::-1], parts[:, ::-1]
    if rng.random() < 0.5:
        rgba, parts = _warped(rgba, parts, rng)
    scale = side / max(rgba.shape[:2])
    size = (max(6, int(rgba.shape[1] * scale)), max(6, int(rgba.shape[0] * scale)))
    enlarged = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    colours = cv2.resize(np.ascontiguousarray(rgba), size, interpolation=enlarged).astype(np.float32)
    return colours, cv2.resize(np.ascontiguousarray(parts), size, interpolation=cv2.INTER_NEAREST)


def _cut_out(side: int, rng: Generator, material: Material) -> Thing:
    if not material.drawings:
        return _drawn(side, rng, material)
    rgba, parts = _resized(material.drawings[rng.integers(len(material.drawings))], side, rng)
    size = rgba.shape[1], rgba.shape[0]
    colours = rgba[..., :3]
    if rng.random() < 0.35:
        colours = colours[..., rng.permutation(3)]
    if rng.random() < 0.35:
        colours = 255 * (colours / 255) ** rng.uniform(0.5, 2)
    if rng.random() < 0.15:  # a silhouette of stuff: only the surface tells it from the ground
        colours = 0.25 * colours + 0.75 * surface(size[1], size[0], rng, material.patterns)
        parts = np.zeros_like(parts)
    return Thing(colours, rgba[..., 3] / 255, parts, np.zeros_like(parts))


def _drawn(side: int, rng: Generator, material: Material) -> Thing:
    """A shape, with up to three smaller shapes on it."""
    side = max(side, 12)
    alpha = shape(side, rng).astype(np.float32) / 255
    colours = surface(side, side, rng, material.patterns)
    parts = np.zeros((side, side), np.uint8)
    for number in range(1, int(rng.integers(1, 4)) + 1 if rng.random() < 0.35 else 1):
        inner = max(8, int(side * rng.uniform(0.15, 0.5)))
        y, x = rng.integers(0, side - inner + 1, 2)
        area = slice(y, y + inner), slice(x, x + inner)
        opacity = shape(inner, rng).astype(np.float32) / 255 * alpha[area]
        fill = surface(inner, inner, rng, material.patterns)
        colours[area] += (fill - colours[area]) * opacity[..., None]
        parts[area][opacity > 0.5] = number
    return Thing(colours, alpha, parts, np.zeros_like(parts))


def _emblem(side: int, rng: Generator, material: Material) -> Thing:
    """A thing on a plate: the thing is a part of the whole, its own parts are subparts.

    The plate is a drawn shape or a cut-out photo, as of a shirt with a badge.
    """
    side = max(side, 24)
    if material.photos and rng.random() < 0.5:
        base = _photographic(side, rng, material)
        colours, plate = base.colours, base.alpha
    else:
        plate = shape(side, rng, str(rng.choice(["ellipse", "rectangle", "rounded"]))).astype(np.float32) / 255
        colours = surface(side, side, rng, material.patterns)
    subparts, parts = np.zeros((2, *plate.shape), np.uint8)
    inner_side = max(8, int(min(plate.shape) * rng.uniform(0.3, 0.6)))
    kind = rng.random()
    draw = _cut_out if kind < 0.35 else _photographic if kind < 0.7 else _drawn
    inner = draw(inner_side, rng, material)
    inner = Thing(*(layer[: plate.shape[0], : plate.shape[1]] for layer in vars(inner).values()))
    height, width = inner.alpha.shape
    y, x = (plate.shape[0] - height) // 2, (plate.shape[1] - width) // 2
    area = slice(y, y + height), slice(x, x + width)
    opacity = inner.alpha * plate[area]
    colours[area] += (inner.colours - colours[area]) * opacity[..., None]
    visible = opacity > 0.5
    parts[area][visible] = 1
    subparts[area][visible] = inner.subparts[visible]
    return Thing(colours, plate, subparts, parts)


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


def _shaded(thing: Thing, rng: Generator) -> Thing:
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
    return Thing(np.clip(colours, 0, 255), thing.alpha, thing.subparts, thing.parts)
