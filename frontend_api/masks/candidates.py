"""One of SAM's candidates in the forms in which it can be had."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.box import Box
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.masks.measures import Measures, measure
from frontend_api.masks.png import encode_png
from frontend_api.masks.polygons import Polygon, outline
from frontend_api.masks.refinement import refine
from frontend_api.masks.rle import RunLengths, encode_rle
from frontend_api.masks.upsampling import upsample_mask
from frontend_api.masks.webp import encode_webp

Stage = Callable[[str], AbstractContextManager[None]]
"""Makes the context in which a named stage of the work runs, such as a timer."""


class Output(StrEnum):
    """A form in which a candidate can be had."""

    CUTOUT = "cutout"
    MASK = "mask"
    POLYGONS = "polygons"
    RLE = "rle"
    LOGITS = "logits"
    MEASURES = "measures"


class PictureFormat(StrEnum):
    """Of cut-outs."""

    PNG = "png"
    WEBP = "webp"


class Crop(StrEnum):
    """What of the image a cut-out shows."""

    OBJECT = "object"
    FRAME = "frame"


@dataclass(frozen=True)
class Rendering:
    """What to make of a candidate.

    Attributes:
        outputs: the forms wanted; no other is computed.
        method: the profile of the soft edge, of cut-out and mask.
        width: of the soft edge, in pixels.
        format: of the cut-out.
        quality: 1…100, of a WebP.
        crop: whether the cut-out is cut to where alpha is not 0, or has the size of the image.
    """

    outputs: frozenset[Output]
    method: FeatherMethod
    width: float
    format: PictureFormat = PictureFormat.PNG
    quality: int = 80
    crop: Crop = Crop.OBJECT


@dataclass(frozen=True)
class Candidate:
    """A candidate in the forms that were asked for; the others are None.

    Attributes:
        mask: grey PNG, the size of the image, white inside, soft at the edges.
        cutout: RGBA PNG or WebP; where alpha is 0 everywhere, the whole image, all of it transparent.
        polygons: outlines of SAM's own mask, unsmoothed and unfeathered.
        rle: SAM's own mask in COCO's run lengths.
        measures: of SAM's own mask.
        logits: float16 [256, 256], low resolution.
    """

    mask: bytes | None = None
    cutout: bytes | None = None
    polygons: list[Polygon] | None = None
    rle: RunLengths | None = None
    measures: Measures | None = None
    logits: NDArray[np.float16] | None = None


def _untimed(name: str) -> AbstractContextManager[None]:
    return nullcontext()


def render(
    image: NDArray[np.uint8] | None,
    size: tuple[int, int],
    logits: NDArray[np.float32],
    rendering: Rendering,
    stage: Stage = _untimed,
) -> Candidate:
    """Turn low-resolution logits into what is wanted of them.

    Args:
        image: RGB, [H, W, 3]; only a cut-out needs it.
        size: of the image, (height, width) in pixels.
        logits: of one mask, [256, 256].
        rendering: what is wanted.
        stage: called with the names ``refine`` and ``encode_png``.
    """
    wanted = rendering.outputs
    height, width = size
    low_res = logits.astype(np.float16) if Output.LOGITS in wanted else None
    if wanted <= {Output.LOGITS}:
        return Candidate(logits=low_res)
    mask_png = cutout_picture = None
    with stage("refine"):
        mask = upsample_mask(logits, height, width)
        polygons = outline(mask) if Output.POLYGONS in wanted else None
        rle = encode_rle(mask, height, width) if Output.RLE in wanted else None
        measures = measure(mask, logits, height, width) if Output.MEASURES in wanted else None
        if wanted & {Output.MASK, Output.CUTOUT}:
            box, alpha = refine(mask, height, width, method=rendering.method, feather_width=rendering.width)
    with stage("encode_png"):
        if Output.MASK in wanted:
            mask_png = encode_png(_whole(box, alpha, height, width))
        if Output.CUTOUT in wanted and image is not None:
            if rendering.crop is Crop.FRAME:
                box, alpha = Box(0, 0, height, width), _whole(box, alpha, height, width)
                pixels = _cut(image, alpha)
            else:
                pixels = cutout(image, box, alpha)
            webp = rendering.format is PictureFormat.WEBP
            cutout_picture = encode_webp(pixels, rendering.quality) if webp else encode_png(pixels)
    return Candidate(mask_png, cutout_picture, polygons, rle, measures, low_res)


def _whole(box: Box, alpha: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    whole = np.zeros((height, width), np.uint8)
    whole[box.slices] = alpha
    return whole


def cutout(image: NDArray[np.uint8], box: Box, alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGBA [h, w, 4], no colour under alpha 0, of where alpha is not 0."""
    left, top, width, height = cv2.boundingRect(alpha)
    if not width:
        return np.zeros((*image.shape[:2], 4), np.uint8)
    alpha = alpha[top : top + height, left : left + width]
    top, left = top + box.top, left + box.left
    return _cut(image[top : top + height, left : left + width], alpha)


def _cut(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    seen = cv2.cvtColor(cv2.bitwise_and(colour, colour, mask=alpha), cv2.COLOR_RGB2RGBA)
    return np.asarray(cv2.insertChannel(alpha, seen, 3), np.uint8)
