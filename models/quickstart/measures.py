"""Numbers that say how good masks are."""

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

SMALLEST_ISLAND = 4  # mask pixels
FAR = 0.05  # of the picture's side


def iou(first: Mask, second: Mask) -> float:
    """Return intersection over union, 0…1; two empty masks have 0."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def count_islands(mask: Mask, thing: Mask, y: int, x: int) -> int:
    """Return how many pieces of a mask lie apart from what was clicked.

    The main piece is the one under the click, or the largest if there is none. A piece is an island if it has
    SMALLEST_ISLAND pixels or more, is farther than FAR from the main piece and nowhere touches the thing: a thing
    that is seen on both sides of another one rightly has two pieces.

    Args:
        mask: bool [H,W].
        thing: bool [H,W], the whole object that was clicked.
        y: row of the click.
        x: column of the click.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:
        return 0
    areas = stats[:, cv2.CC_STAT_AREA]
    main = labels[y, x] or 1 + int(areas[1:].argmax())
    reach = cv2.distanceTransform((labels != main).astype(np.uint8), cv2.DIST_L2, 5)
    return sum(
        areas[label] >= SMALLEST_ISLAND
        and reach[labels == label].min() > FAR * max(mask.shape)
        and not thing[labels == label].any()
        for label in range(1, count)
        if label != main
    )


def fifths(predicted: NDArray[np.float32], true: NDArray[np.float64]) -> list[tuple[float, float, int, float, float]]:
    """Return for each fifth of candidates by predicted IoU: from, to, how many, mean predicted and mean true IoU."""
    order = np.array_split(predicted.argsort(), 5)
    return [
        (predicted[fifth[0]], predicted[fifth[-1]], len(fifth), predicted[fifth].mean(), true[fifth].mean())
        for fifth in order
    ]
