"""One of SAM's candidates as the two PNGs that the browser shows."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.box import Box
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.masks.png import encode_png
from frontend_api.masks.refinement import refine
from frontend_api.masks.upsampling import upsample_mask

Stage = Callable[[str], AbstractContextManager[None]]
"""Makes the context in which a named stage of the work runs, such as a timer."""


@dataclass(frozen=True)
class Candidate:
    """A mask and what it cuts out.

    Attributes:
        mask_png: grey, the size of the image, white inside, soft at the edges.
        cutout_png: RGBA, cropped to where alpha is not 0; if that is nowhere, the whole image, all of it
            transparent.
    """

    mask_png: bytes
    cutout_png: bytes


def _untimed(name: str) -> AbstractContextManager[None]:
    return nullcontext()


def render(
    image: NDArray[np.uint8],
    logits: NDArray[np.float32],
    *,
    method: FeatherMethod,
    width: float,
    stage: Stage = _untimed,
) -> Candidate:
    """Turn low-resolution logits into a mask and a cut-out.

    Args:
        image: RGB, [H, W, 3].
        logits: of one mask, [256, 256].
        method: the profile of the soft edge.
        width: of the soft edge, in pixels.
        stage: called with the names ``refine`` and ``encode_png``.
    """
    image_height, image_width = image.shape[:2]
    with stage("refine"):
        mask = upsample_mask(logits, image_height, image_width)
        box, alpha = refine(mask, image_height, image_width, method=method, feather_width=width)
    with stage("encode_png"):
        whole = np.zeros((image_height, image_width), np.uint8)
        whole[box.slices] = alpha
        return Candidate(encode_png(whole), encode_png(cutout(image, box, alpha)))


def cutout(image: NDArray[np.uint8], box: Box, alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGBA [h, w, 4], no colour under alpha 0, of where alpha is not 0."""
    left, top, width, height = cv2.boundingRect(alpha)
    if not width:
        return np.zeros((*image.shape[:2], 4), np.uint8)
    alpha = alpha[top : top + height, left : left + width]
    top, left = top + box.top, left + box.left
    colour = image[top : top + height, left : left + width]
    seen = cv2.cvtColor(cv2.bitwise_and(colour, colour, mask=alpha), cv2.COLOR_RGB2RGBA)
    return np.asarray(cv2.insertChannel(alpha, seen, 3), np.uint8)
