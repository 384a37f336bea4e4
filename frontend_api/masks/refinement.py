"""From SAM's binary mask to the alpha of a cut-out: smoothing, then a soft edge."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.box import Box
from frontend_api.masks.feathering import FeatherMethod, feather
from frontend_api.masks.upsampling import BoxedMask

_RADIUS = 2
_KERNEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _RADIUS + 1, 2 * _RADIUS + 1))


def refine(
    mask: BoxedMask, height: int, width: int, *, method: FeatherMethod, feather_width: float
) -> tuple[Box, NDArray[np.uint8]]:
    """Smooth a mask and give it a soft edge, working only around its box.

    The result is that of working on the whole image. With the method `none` it is the mask as it is.

    Args:
        mask: of an image of `height` × `width` pixels.
        height: of the image.
        width: of the image.
        method: the profile of the soft edge.
        feather_width: over which alpha falls to 0, in pixels.

    Returns:
        A box, and alpha, 0…255, inside it; outside it alpha is 0.
    """
    if method is FeatherMethod.NONE:
        return mask.box, mask.inside.view(np.uint8) * np.uint8(255)
    # Closing reaches as far as a dilation and an erosion, and the erosion must see what it erodes.
    box = mask.box.grown(2 * _RADIUS + math.ceil(feather_width), height, width)
    inside = np.zeros((box.height, box.width), np.uint8)
    top, left = mask.box.top - box.top, mask.box.left - box.left
    inside[top : top + mask.box.height, left : left + mask.box.width] = mask.inside
    return box, feather(smooth(inside).view(np.bool_), method, feather_width)


def smooth(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove specks and hairs (opening), then fill pinholes and cracks (closing), up to 4 pixels wide.

    Args:
        mask: 0 or 1, [H, W].
    """
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _KERNEL)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, _KERNEL), np.uint8)
