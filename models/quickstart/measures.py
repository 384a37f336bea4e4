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


def count_pieces(thing: Mask) -> int:
    """Return in how many pieces a thing is seen, of a hundredth of what is seen of it or more each."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(thing.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return np.count_nonzero(areas >= 0.01 * areas.sum())


def calibration(
    predicted: NDArray[np.float64], true: NDArray[np.float64], edges: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9)
) -> list[tuple[str, int, float, float]]:
    """Return for each range of predicted IoU: its name, how many fell into it, mean predicted and mean true IoU."""
    bins = np.digitize(predicted, edges)
    limits = ("", *(f"{edge:g}" for edge in edges), "")
    return [
        (f"{limits[i]}…{limits[i + 1]}", int((bins == i).sum()), predicted[bins == i].mean(), true[bins == i].mean())
        for i in range(len(edges) + 1)
        if (bins == i).any()
    ]
