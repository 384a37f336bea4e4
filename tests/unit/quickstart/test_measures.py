import numpy as np
import pytest

from models.quickstart.measures import count_islands, fifths, iou


def test_iou_of_overlapping_and_of_empty_masks() -> None:
    first, second = np.array([1, 1, 0], bool), np.array([0, 1, 1], bool)
    assert iou(first, second) == pytest.approx(1 / 3)
    assert iou(np.zeros(3, bool), np.zeros(3, bool)) == 0


def test_only_distant_pieces_outside_of_the_thing_are_islands() -> None:
    thing = np.zeros((200, 200), bool)
    thing[20:60, 20:60] = thing[20:60, 120:160] = True  # seen on both sides of something
    mask = thing.copy()
    mask[20:60, 63:70] = True  # near
    mask[190, 190] = True  # a speck
    assert count_islands(mask, thing, 40, 40) == 0
    mask[180:184, 100:104] = True
    assert count_islands(mask, thing, 40, 40) == 1


def test_fifths_are_sorted_by_what_was_predicted() -> None:
    predicted, true = np.linspace(0.9, 0, 10, dtype=np.float32), np.arange(10.0)
    rows = fifths(predicted, true)
    assert [row[2] for row in rows] == [2] * 5
    assert rows[0] == pytest.approx((0, 0.1, 2, 0.05, 8.5))
    assert rows[-1] == pytest.approx((0.8, 0.9, 2, 0.85, 0.5))
