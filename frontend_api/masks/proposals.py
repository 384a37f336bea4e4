"""Which of the masks under a grid of points are objects, as `SamAutomaticMaskGenerator` chooses them on a whole image.

Masks with a low predicted IoU or an unstable edge go at once; of masks whose boxes nearly coincide the best one stays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.measures import Measures, measure
from frontend_api.masks.polygons import Polygon, outline
from frontend_api.masks.rle import RunLengths, encode_rle
from frontend_api.masks.upsampling import upsample_mask


@dataclass(frozen=True)
class Thresholds:
    """What a mask must have to count as an object.

    Attributes:
        score: predicted IoU above this; 0 asks for none, for it can be negative.
        stability: 0…1, at least; see `measure`.
        area: pixels, at least.
    """

    score: float
    stability: float
    area: int


@dataclass(frozen=True)
class Proposal:
    """A mask that counts as an object, in the forms that were asked for.

    Attributes:
        score: predicted IoU.
        point: x and y in pixels of the image, where it was found.
        measures: box, area and stability.
        polygons: outlines, if asked for.
        rle: COCO's run lengths, if asked for.
    """

    score: float
    point: tuple[float, float]
    measures: Measures
    polygons: list[Polygon] | None
    rle: RunLengths | None


def point_grid(side: int, height: int, width: int) -> NDArray[np.float64]:
    """Return the centres of `side` × `side` equal fields of an image, (x, y) row by row, [side², 2]."""
    places = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(places * width, places * height)
    return np.column_stack([x.ravel(), y.ravel()])


def propose(
    logits: NDArray[np.float32],
    score: float,
    point: tuple[float, float],
    size: tuple[int, int],
    thresholds: Thresholds,
    *,
    polygons: bool,
    rle: bool,
) -> Proposal | None:
    """Return what a candidate's low-resolution logits, [256, 256], propose in an image of (height, width), if anything.

    An empty mask proposes nothing.
    """
    if thresholds.score > 0 and score <= thresholds.score:
        return None
    mask = upsample_mask(logits, *size)
    measures = measure(mask, logits, *size)
    if measures["stability"] < thresholds.stability or measures["area"] < max(1, thresholds.area):
        return None
    return Proposal(
        score, point, measures, outline(mask) if polygons else None, encode_rle(mask, *size) if rle else None
    )


def without_duplicates(proposals: list[Proposal], overlap: float) -> list[Proposal]:
    """Return the best of every group of proposals whose boxes' IoU is above `overlap`, best score first.

    Greedy non-maximum suppression, as `torchvision.ops.nms` does it on boxes from the first to the last pixel.
    """
    ranked = sorted(proposals, key=lambda proposal: -proposal.score)
    corners = np.array([proposal.measures["bbox"] for proposal in ranked], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2] - 1
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    open_, kept = np.ones(len(ranked), np.bool_), []
    for index, proposal in enumerate(ranked):
        if not open_[index]:
            continue
        kept.append(proposal)
        first = np.maximum(corners[index, :2], corners[:, :2])
        last = np.minimum(corners[index, 2:], corners[:, 2:])
        shared = np.clip(last - first, 0, None).prod(axis=1)
        open_ &= shared <= overlap * (areas[index] + areas - shared)
    return kept
