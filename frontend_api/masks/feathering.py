"""Soft edges: alpha falls outside of a mask with the distance from it."""

import itertools
import math
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.box import Box

_EXPONENTIAL_RATE = 5.0
_SIGMOID_STEEPNESS = 10.0
_POWER = 3.0
_EXP_BITS = 10.0
_TILE_SIDE = 128


class FeatherMethod(StrEnum):
    """How alpha falls from 1 at the edge to 0 at the full width."""

    NONE = "none"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    COSINE = "cosine"
    SIGMOID = "sigmoid"
    EASE_OUT_POWER = "ease_out_power"
    EASE_OUT_EXP = "ease_out_exp"


def profile(method: FeatherMethod, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return g(t): 1 at t = 0, falling to 0 at t = 1 and staying there.

    `ease_out_power` and `ease_out_exp` are the easing curves "out cubic" and "out expo" turned upside down:
    they fall fast at the edge and fade slowly. `exponential`, `sigmoid` and `ease_out_exp`, which reach 1
    or 0 nowhere, are stretched to do so.

    Args:
        method: any but `none`, which has no profile: it is 1 at t = 0 and 0 elsewhere.
        t: distance from the edge over the width of the soft edge, at least 0, any shape.
    """
    t = np.asarray(np.minimum(t, 1.0))
    match method:
        case FeatherMethod.NONE:
            return np.asarray(t == 0, np.float64)
        case FeatherMethod.LINEAR:
            return np.asarray(1.0 - t)
        case FeatherMethod.COSINE:
            return np.asarray((1.0 + np.cos(np.pi * t)) / 2.0)
        case FeatherMethod.EASE_OUT_POWER:
            return np.asarray((1.0 - t) ** _POWER)
        case FeatherMethod.EXPONENTIAL:
            curve, start, end = (np.exp(-_EXPONENTIAL_RATE * x) for x in (t, 0.0, 1.0))
        case FeatherMethod.SIGMOID:
            curve, start, end = (1.0 / (1.0 + np.exp(_SIGMOID_STEEPNESS * (x - 0.5))) for x in (t, 0.0, 1.0))
        case FeatherMethod.EASE_OUT_EXP:
            curve, start, end = (np.exp2(-_EXP_BITS * x) for x in (t, 0.0, 1.0))
    return np.asarray((curve - end) / (start - end))


def feather(mask: NDArray[np.bool_], method: FeatherMethod, width: float) -> NDArray[np.uint8]:
    """Give a mask a soft edge.

    Args:
        mask: [H, W]; a part of the image that holds all of the mask and `width` pixels around it gives the
            same alpha as the whole image.
        method: the profile of the edge.
        width: over which alpha falls to 0, in pixels; distances are from pixel centre to pixel centre.

    Returns:
        Alpha, [H, W]: 255 inside the mask, 0 from `width` pixels on.
    """
    inside = mask.view(np.uint8)
    alpha = inside * np.uint8(255)
    if method is FeatherMethod.NONE or width <= 1:
        return alpha
    # Squared distances between pixels are whole numbers, so there are few of them.
    square_of_width = math.ceil(width**2)
    distances = np.sqrt(np.arange(square_of_width + 1))
    alpha_of_square = np.rint(255 * profile(method, distances / width)).astype(np.uint8)

    # Distances are costly and wanted near the edge only: tiles that lie far from it are left out.
    reach = math.ceil(width)
    side = max(_TILE_SIDE, 4 * reach)
    rows, columns = mask.shape
    for top, left in itertools.product(range(0, rows, side), range(0, columns, side)):
        tile = Box(top, left, min(top + side, rows), min(left + side, columns))
        around = tile.grown(reach, rows, columns)
        seen = inside[around.slices]
        if seen.any() and not seen.all():
            distance = cv2.distanceTransform(1 - seen, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            distance = distance[top - around.top :, left - around.left :][: tile.height, : tile.width]
            # Rounded, since what single precision leaves of a distance depends on what else the tile holds.
            square = np.minimum(np.rint(distance**2), square_of_width).astype(np.intp)
            alpha[tile.slices] = alpha_of_square[square]
    return alpha
