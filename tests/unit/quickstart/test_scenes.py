import numpy as np
import pytest

from models.quickstart.cutouts import Material
from models.quickstart.scenes import PART, SUBPART, WHOLE, compose
from models.quickstart.shapes import KINDS, shape

SEEDS = range(12)


def test_a_seed_gives_one_scene(material: Material) -> None:
    first, second = (compose(128, np.random.default_rng(3), material) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.levels, second.levels)
    other = compose(128, np.random.default_rng(4), material)
    assert other.image.shape != first.image.shape or (other.image != first.image).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_longer_side_has_the_size_asked_for(material: Material, seed: int) -> None:
    scene = compose(128, np.random.default_rng(seed), material)
    assert max(scene.image.shape[:2]) == 128
    assert scene.levels.shape == (3, *scene.image.shape[:2])


@pytest.mark.parametrize("seed", SEEDS)
def test_every_part_lies_inside_one_larger_thing(material: Material, seed: int) -> None:
    levels = compose(192, np.random.default_rng(seed), material).levels
    for inner in (SUBPART, PART):
        for number in np.unique(levels[inner][levels[inner] > 0]):
            assert len(np.unique(levels[WHOLE][levels[inner] == number])) == 1
            assert levels[WHOLE][levels[inner] == number].all()


def test_scenes_without_pictures_are_made_of_shapes() -> None:
    scene = compose(128, np.random.default_rng(0), Material([], [], [], []))
    assert scene.levels[WHOLE].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_is_neither_empty_nor_cut_off(kind: str) -> None:
    for seed in range(10):
        drawn = shape(80, np.random.default_rng(seed), kind)
        assert (drawn > 127).mean() > 0.02
        assert not drawn[[0, -1]].any()
        assert not drawn[:, [0, -1]].any()
