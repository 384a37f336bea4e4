import numpy as np
import pytest

from models.quickstart.measures import calibration, count_islands, count_pieces, iou


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


def test_pieces_of_a_thing_are_counted_without_specks() -> None:
    thing = np.zeros((100, 100), bool)
    thing[10:40, 10:40] = thing[10:40, 60:90] = thing[80, 80] = True
    assert count_pieces(thing) == 2


def test_calibration_sorts_by_what_was_predicted() -> None:
    rows = calibration(np.array([0.1, 0.3, 0.95]), np.array([0.0, 0.4, 0.9]), (0.5, 0.9))
    assert [row[:2] for row in rows] == [("…0.5", 2), ("0.9…", 1)]
    assert rows[0][2:] == pytest.approx((0.2, 0.2))
