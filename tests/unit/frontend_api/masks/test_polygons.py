import cv2
import numpy as np
import pytest

from frontend_api.masks.polygons import outline
from tests.support.masks import boxed, kinds_of_masks

FINE = 8  # as many times finer polygons are drawn, so that drawing decides nothing


def drawn(polygons, height, width):
    """Rings filled by the even-odd rule, [8 · height, 8 · width]."""
    from matplotlib.path import Path

    y, x = np.mgrid[: height * FINE, : width * FINE]
    centres = np.stack([(x.ravel() + 0.5) / FINE, (y.ravel() + 0.5) / FINE], axis=1)
    inside = np.zeros(len(centres), np.bool_)
    for polygon in polygons:
        for ring in (polygon["outer"], *polygon["holes"]):
            inside ^= Path([*ring, ring[0]]).contains_points(centres)
    return inside.reshape(height * FINE, width * FINE)


def iou(one, other):
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def fine(mask):
    return np.repeat(np.repeat(mask, FINE, axis=0), FINE, axis=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 5), (50, 33)])
def test_polygons_of_small_thin_and_ragged_masks_are_theirs(size):
    for mask in kinds_of_masks(*size, seed=1):
        assert iou(drawn(outline(boxed(mask)), *size), fine(mask)) > 0.99


def test_an_outline_is_simplified_within_a_pixel_and_keeps_the_mask():
    mask = np.zeros((150, 200), np.uint8)
    cv2.ellipse(mask, (100, 75), (90, 50), 20, 0, 360, 1, -1)
    (polygon,) = outline(boxed(mask.view(np.bool_)))
    assert len(polygon["outer"]) < 50
    assert iou(drawn([polygon], 150, 200), fine(mask.view(np.bool_))) > 0.98


def test_holes_belong_to_the_smallest_part_around_them():
    mask = np.zeros((90, 90), np.bool_)
    mask[5:85, 5:85] = True
    mask[15:75, 15:75] = False
    mask[30:60, 30:60] = True
    mask[40:50, 40:50] = False
    large, small = outline(boxed(mask))
    assert sorted(large["outer"]) == [[5, 5], [5, 85], [85, 5], [85, 85]]
    assert [sorted(hole) for hole in large["holes"]] == [[[15, 15], [15, 75], [75, 15], [75, 75]]]
    assert [sorted(hole) for hole in small["holes"]] == [[[40, 40], [40, 50], [50, 40], [50, 50]]]


def test_parts_come_largest_first_and_pixels_that_touch_at_a_corner_are_two():
    mask = np.array([[1, 0, 0, 0], [0, 1, 1, 0]], np.bool_)
    assert [sorted(polygon["outer"]) for polygon in outline(boxed(mask))] == [
        [[1, 1], [1, 2], [3, 1], [3, 2]],
        [[0, 0], [0, 1], [1, 0], [1, 1]],
    ]
