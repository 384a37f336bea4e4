import pytest

from benchmarks.goals import Goal, behind_peer, goals
from benchmarks.machine import summary
from benchmarks.photos import MASKS, SIZES, Photo


def test_a_summary_is_in_milliseconds_whatever_the_order():
    assert summary([0.003, 0.001, 0.002]) | {"p95": 0, "p99": 0} == {
        "n": 3, "p50": 2, "q1": 1.5, "q3": 2.5, "p95": 0, "p99": 0, "min": 1, "max": 3,
    }  # fmt: skip


def test_one_duration_is_every_quantile():
    assert set(summary([0.5]).values()) == {1, 500}


def test_a_goal_holds_on_its_bound_and_not_beyond():
    assert Goal("most", 1.4, 1.4).holds
    assert not Goal("most", 1.41, 1.4).holds
    assert Goal("least", 80, 80, least=True).holds
    assert not Goal("least", 79, 80, least=True).holds


def test_what_was_not_measured_neither_holds_nor_fails():
    assert {goal.holds for goal in goals({})} == {None}
    assert all("not measured" in goal.cells() for goal in goals({}))


def test_the_worst_row_decides():
    rows = [
        {"photo": "1800×1200", "mask": mask, "over_floor": over, "imgr": {"p50": 100}, "baseline": {"p50": slow}}
        for mask, over, slow in (("small", 1.1, 2000), ("large", 1.5, 1000))
    ]
    found = {goal.what: goal for goal in goals({"quickstart": {"clicks": rows}})}
    assert found["The same with the shipped model"].measured == 10
    assert not found["Click over the floor, 1800×1200, one client, worst mask"].holds


def test_rows_in_which_the_peer_was_faster_are_named():
    slow, fast = {"p50": 2}, {"p50": 1}
    measured = {
        "clicks": [{"photo": "p", "mask": "m", "imgr": slow, "peer": fast}],
        "uploads": [
            {"photo": "p", "imgr ready": fast, "peer ready": slow, "imgr first click": slow, "peer first click": fast}
        ],
        "load": {
            "closed": [{"clients": 1, "images": 1, "throughput": 3}, {"clients": 4, "images": 1, "throughput": 3}],
            "closed_peer": [{"clients": 1, "images": 1, "throughput": 4}],
        },
    }
    assert list(behind_peer(measured)) == [
        "repeated click, p, m",
        "first click, p",
        "throughput of 1 clients on 1 images",
    ]


@pytest.mark.parametrize("mask", MASKS)
def test_a_photo_has_its_size_and_an_object_of_its_share_inside_every_box(mask):
    photo = Photo("800×534", mask)
    width, height = SIZES[photo.size]
    assert photo.pixels.shape == (height, width, 3)
    blue = photo.pixels[..., 2].astype(int) > photo.pixels[..., 0].astype(int) + 40
    assert blue.mean() == pytest.approx(MASKS[mask], rel=0.05)
    for number in range(5):
        x0, y0, x1, y1 = map(round, photo.box(number))
        assert blue[y0 : y1 + 1, x0 : x1 + 1].sum() == blue.sum()
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    assert photo.box(0) != photo.box(1)


def test_photos_are_made_alike_and_differ_by_seed():
    first = Photo("800×534", "small").jpeg
    assert first == Photo("800×534", "small").jpeg
    assert first != Photo("800×534", "small", 1).jpeg
