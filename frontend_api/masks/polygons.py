"""Outlines of a mask along the edges of its pixels: pixel (x, y) covers x…x + 1 and y…y + 1.

Every corner between four pixels where the outline turns is found at once. Along each row of corners, and along each
column, the turns are joined in pairs; what remains is to follow the pairs. Going round with the mask on the right hand,
outlines are run clockwise and holes the other way. Pixels that touch at a corner alone are different parts.
"""

from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.upsampling import BoxedMask

Ring = list[list[int]]

_GREATEST_ERROR = 1.0  # pixels
# How far simplification may move an outline, as a share of a part's area for its length: small parts keep their shape.
_TOLERATED_SHARE = 0.04

# Turns at a corner, by the pattern of the pixels around it (north-west 1, north-east 2, south-west 4, south-east 8):
# whether its horizontal edge lies to the right, its vertical one lies below, and the way goes on horizontally.
_TURNS = {
    8: [(True, True, True)],
    4: [(False, True, False)],
    1: [(False, False, True)],
    2: [(True, False, False)],
    7: [(True, True, False)],
    11: [(False, True, True)],
    14: [(False, False, False)],
    13: [(True, False, True)],
    9: [(False, False, True), (True, True, True)],
    6: [(True, False, False), (False, True, False)],
}


class Polygon(TypedDict):
    """A part of a mask: its outline and the outlines of its holes, as [x, y] in pixels of the image."""

    outer: Ring
    holes: list[Ring]


def outline(mask: BoxedMask) -> list[Polygon]:
    """Return the parts of a mask as polygons, largest first, simplified within one pixel, or less where it is small."""
    rings = [ring + np.array([mask.box.left, mask.box.top], np.int32) for ring in _rings(mask.inside)]
    areas = [_signed_area(ring) for ring in rings]
    parts = sorted((number for number, area in enumerate(areas) if area > 0), key=lambda number: -areas[number])
    polygons: dict[int, Polygon] = {number: {"outer": _simplified(rings[number]), "holes": []} for number in parts}
    for number, area in enumerate(areas):
        if area < 0:
            # The smallest part around it; the middle of an edge lies on no other part's outline.
            place = tuple(map(float, rings[number][:2].mean(axis=0)))
            around = next(part for part in reversed(parts) if _holds(rings[part], place))
            polygons[around]["holes"].append(_simplified(rings[number]))
    return [polygons[number] for number in parts]


def _rings(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Return closed rings of corners, [N, 2] each, x and y in pixels of the mask."""
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[0])
    pattern = framed[:-1, :-1] + 2 * framed[:-1, 1:] + 4 * framed[1:, :-1] + 8 * framed[1:, 1:]
    turning = np.zeros(16, np.bool_)
    turning[list(_TURNS)] = True
    rows, columns = np.nonzero(turning[pattern])
    turns = np.array(
        [
            (x, y, *turn)
            for x, y, kind in zip(columns.tolist(), rows.tolist(), pattern[rows, columns].tolist(), strict=True)
            for turn in _TURNS[kind]
        ],
        np.int32,
    ).reshape(-1, 5)
    x, y, to_the_right, below, horizontally = turns.T
    following = np.empty(len(turns), np.intp)
    for order, along in (
        (np.lexsort((to_the_right, x, y)), horizontally == 1),
        (np.lexsort((below, y, x)), horizontally == 0),
    ):
        partner = np.empty(len(turns), np.intp)
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
        following[along] = partner[along]
    return [turns[ring, :2] for ring in _cycles(following.tolist())]


def _cycles(following: list[int]) -> list[list[int]]:
    cycles = []
    left = [True] * len(following)
    for start, new in enumerate(left):
        if not new:
            continue
        cycle, at = [], start
        while left[at]:
            left[at] = False
            cycle.append(at)
            at = following[at]
        cycles.append(cycle)
    return cycles


def _signed_area(ring: NDArray[np.int32]) -> float:
    x, y = ring.T.astype(np.float64)
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _holds(ring: NDArray[np.int32], place: tuple[float, ...]) -> bool:
    return cv2.pointPolygonTest(ring.astype(np.float32)[:, None], (place[0], place[1]), measureDist=False) >= 0


def _simplified(ring: NDArray[np.int32]) -> Ring:
    error = _TOLERATED_SHARE * cv2.contourArea(ring[:, None]) / cv2.arcLength(ring[:, None], closed=True)
    simple = cv2.approxPolyDP(ring[:, None], min(_GREATEST_ERROR, error), closed=True)[:, 0]
    return simple.tolist()  # type: ignore[no-any-return]
