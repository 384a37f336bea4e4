"""What a person might ask of a scene: a click or a box, and the masks that would be right answers."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.quickstart.scenes import WHOLE, Scene

BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT, NOT_A_POINT = 0, 1, 2, 3, -1

Mask = NDArray[np.bool_]

_SMALLEST = 0.003  # of the picture's area
_SAME = 0.88  # two nested masks whose areas have a larger ratio are one


@dataclass(frozen=True)
class Prompt:
    """Two prompt tokens, and every mask that answers them.

    Attributes:
        coords: float32 [2,2], (x, y) in pixels as SamPredictor takes them.
        labels: int64 [2]; a click is (FOREGROUND, NOT_A_POINT), a box (TOP_LEFT, BOTTOM_RIGHT).
        answers: one to three masks [H,W], each inside the next.
        intended: index of the one that was asked for.
        outer: the visible object that the intended mask is part of.
    """

    coords: NDArray[np.float32]
    labels: NDArray[np.int64]
    answers: tuple[Mask, ...]
    intended: int
    outer: Mask


def ask(scene: Scene, rng: Generator, box_share: float = 0.2, part_share: float = 0.2) -> Prompt | None:
    """Return a prompt for a random thing in the scene, or None if nothing in it is large enough."""
    level = WHOLE if rng.random() > part_share else int(rng.integers(WHOLE))
    numbers, areas = _things(scene, level)
    if not len(numbers) and level != WHOLE:
        numbers, areas = _things(scene, level := WHOLE)
    if not len(numbers):
        return None
    chances = areas**0.25
    number = rng.choice(numbers, p=chances / chances.sum())
    mask = scene.levels[level] == number
    if rng.random() < box_share:
        outer = _containing(scene, mask, WHOLE)
        return Prompt(jittered_box(mask, rng), np.array([TOP_LEFT, BOTTOM_RIGHT]), (mask,), 0, outer)
    y, x = point_inside(mask, rng)
    answers, intended = nested(scene, y, x, level)
    return Prompt(
        np.array([[x, y], [0, 0]], np.float32),
        np.array([FOREGROUND, NOT_A_POINT]),
        answers,
        intended,
        scene.levels[WHOLE] == scene.levels[WHOLE, y, x],
    )


def nested(scene: Scene, y: int, x: int, level: int = WHOLE) -> tuple[tuple[Mask, ...], int]:
    """Return the masks of everything at a pixel, the smallest first, and which of them `level` is."""
    masks: list[Mask] = []
    intended = 0
    smallest = _SMALLEST * scene.levels[0].size
    for current in range(WHOLE + 1):
        number = scene.levels[current, y, x]
        if number == 0:
            continue
        mask = scene.levels[current] == number
        if masks and masks[-1].sum() > _SAME * mask.sum():
            masks[-1] = mask
        elif mask.sum() >= smallest or current == WHOLE:
            masks.append(mask)
        if current <= level:
            intended = max(0, len(masks) - 1)
    return tuple(masks), intended


def most_interior(mask: Mask) -> tuple[int, int]:
    """Return the pixel (y, x) farthest from everything outside the mask; the picture's border is outside."""
    y, x = np.unravel_index(_depth(mask).argmax(), mask.shape)
    return int(y), int(x)


def point_inside(mask: Mask, rng: Generator) -> tuple[int, int]:
    """Return a pixel (y, x) of the mask as a person would click: seldom on its edge, often near its middle."""
    depth = _depth(mask)
    deepest = depth.max()
    style = rng.random()
    candidates = depth >= (0.85 if style < 0.3 else 0.4 if style < 0.7 else 0.1) * deepest
    chosen = rng.choice(np.flatnonzero(candidates & mask))
    return int(chosen // mask.shape[1]), int(chosen % mask.shape[1])


def jittered_box(mask: Mask, rng: Generator) -> NDArray[np.float32]:
    """Return the corners [[x0,y0],[x1,y1]] of the mask's box, each moved by noise of 5 % of its sides."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = np.array([[x, y], [x + width - 1, y + height - 1]], np.float32)
    limit = np.array([width, height]) * 0.15
    noise = np.clip(rng.normal(0, 0.05, (2, 2)) * [width, height], -limit, limit)
    return np.clip(box + noise, 0, np.array(mask.shape[::-1]) - 1).astype(np.float32)


def _depth(mask: Mask) -> NDArray[np.float32]:
    return cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]


def _things(scene: Scene, level: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the numbers and areas of what is large enough on a level."""
    areas = np.bincount(scene.levels[level].ravel(), minlength=2)
    areas[0] = 0
    numbers = np.flatnonzero(areas >= _SMALLEST * scene.levels[level].size)
    return numbers, areas[numbers].astype(np.float64)


def _containing(scene: Scene, mask: Mask, level: int) -> Mask:
    y, x = np.unravel_index(mask.argmax(), mask.shape)
    return scene.levels[level] == scene.levels[level, y, x]
