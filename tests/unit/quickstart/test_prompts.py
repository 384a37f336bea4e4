import numpy as np
import pytest

from models.quickstart.cutouts import Material
from models.quickstart.prompts import (
    BOTTOM_RIGHT,
    FOREGROUND,
    NOT_A_POINT,
    TOP_LEFT,
    ask,
    most_interior,
    nested,
)
from models.quickstart.scenes import PART, SUBPART, WHOLE, Scene, compose


@pytest.fixture
def emblem() -> Scene:
    """A plate with a square on it, and a smaller square on that."""
    levels = np.zeros((3, 64, 64), np.uint8)
    levels[WHOLE, 4:60, 4:60] = 1
    levels[PART, 16:48, 16:48] = 1
    levels[SUBPART, 24:36, 24:36] = 1
    return Scene(np.zeros((64, 64, 3), np.uint8), levels)


@pytest.mark.parametrize("seed", range(12))
def test_a_click_lies_in_every_answer_and_answers_are_nested(material: Material, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prompt = ask(compose(160, rng, material), rng, box_share=0)
    if prompt is None:
        pytest.skip("nothing large enough in this scene")
    x, y = prompt.coords[0].astype(int)
    assert prompt.labels.tolist() == [FOREGROUND, NOT_A_POINT]
    assert all(mask[y, x] for mask in prompt.answers)
    for inner, outer in zip(prompt.answers, (*prompt.answers[1:], prompt.outer), strict=True):
        assert not (inner & ~outer).any()


@pytest.mark.parametrize("seed", range(8))
def test_a_box_surrounds_its_only_answer_nearly(material: Material, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prompt = ask(compose(160, rng, material), rng, box_share=1)
    if prompt is None:
        pytest.skip("nothing large enough in this scene")
    (mask,) = prompt.answers
    assert prompt.labels.tolist() == [TOP_LEFT, BOTTOM_RIGHT]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    exact = np.array([[columns[0], rows[0]], [columns[-1], rows[-1]]])
    sides = np.array([len(range(columns[0], columns[-1] + 1)), len(range(rows[0], rows[-1] + 1))])
    assert (np.abs(prompt.coords - exact) <= 0.15 * sides + 1e-3).all()


@pytest.mark.parametrize(("level", "intended"), [(SUBPART, 0), (PART, 1), (WHOLE, 2)])
def test_all_that_lies_under_a_click_answers_it(emblem: Scene, level: int, intended: int) -> None:
    answers, meant = nested(emblem, 30, 30, level)
    assert [int(mask.sum()) for mask in answers] == [12 * 12, 32 * 32, 56 * 56]
    assert meant == intended


def test_a_click_beside_the_parts_means_the_whole(emblem: Scene) -> None:
    answers, meant = nested(emblem, 8, 8, WHOLE)
    assert [int(mask.sum()) for mask in answers] == [56 * 56]
    assert meant == 0


def test_a_part_that_is_nearly_the_whole_is_no_answer_of_its_own(emblem: Scene) -> None:
    emblem.levels[PART, 5:60, 5:60] = 1
    answers, meant = nested(emblem, 30, 30, PART)
    assert [int(mask.sum()) for mask in answers] == [12 * 12, 56 * 56]
    assert meant == 1


def test_the_most_interior_point_is_the_middle_of_a_square() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:31, 0:21] = True
    assert most_interior(mask) == (20, 10)
