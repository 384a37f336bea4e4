import numpy as np
import pytest
from scipy import ndimage

from frontend_api.masks.feathering import FeatherMethod, feather, profile
from tests.support.pictures import disc

SOFT = [method for method in FeatherMethod if method is not FeatherMethod.NONE]


@pytest.mark.parametrize("method", FeatherMethod)
def test_profiles_are_exactly_one_at_the_edge_and_zero_at_the_width_and_beyond(method):
    values = profile(method, np.array([0.0, 1.0, 1.5, 100.0]))
    assert values.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("method", FeatherMethod)
def test_profiles_never_rise(method):
    values = profile(method, np.linspace(0, 1, 10_001))
    assert np.all(np.diff(values) <= 0)
    assert values.min() >= 0
    assert values.max() <= 1


@pytest.mark.parametrize("method", SOFT)
def test_profiles_fall_all_the_way(method):
    assert np.all(np.diff(profile(method, np.linspace(0, 1, 101))) < 0)


@pytest.mark.parametrize(
    ("method", "at_half"),
    [
        (FeatherMethod.LINEAR, 0.5),
        (FeatherMethod.COSINE, 0.5),
        (FeatherMethod.SIGMOID, 0.5),
        (FeatherMethod.EASE_OUT_POWER, 0.125),
        (FeatherMethod.EXPONENTIAL, (np.exp(-2.5) - np.exp(-5)) / (1 - np.exp(-5))),
        (FeatherMethod.EASE_OUT_EXP, (2**-5 - 2**-10) / (1 - 2**-10)),
    ],
)
def test_profiles_have_their_shapes(method, at_half):
    assert profile(method, np.array([0.5])) == pytest.approx(at_half)


@pytest.mark.parametrize("method", SOFT)
@pytest.mark.parametrize("width", [1.5, 3, 10, 40.5, 256])
def test_alpha_follows_the_profile_of_the_distance(method, width):
    mask = disc(200, 300) > 0
    distance = ndimage.distance_transform_edt(~mask)
    expected = 255 * profile(method, distance / width)

    alpha = feather(mask, method, width)

    assert alpha.dtype == np.uint8
    assert np.all(alpha[mask] == 255)
    assert not alpha[distance >= width].any()
    assert np.array_equal(alpha, np.rint(expected))


@pytest.mark.parametrize("method", FeatherMethod)
@pytest.mark.parametrize("width", [0, 0.5, 1])
def test_widths_up_to_one_pixel_leave_a_hard_edge(method, width):
    mask = disc() > 0
    assert np.array_equal(feather(mask, method, width), mask * np.uint8(255))


def test_the_method_none_leaves_a_hard_edge_whatever_the_width():
    mask = disc() > 0
    assert np.array_equal(feather(mask, FeatherMethod.NONE, 50), mask * np.uint8(255))


@pytest.mark.parametrize("method", FeatherMethod)
@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks_have_no_edge(method, value):
    assert np.all(feather(np.full((20, 30), value), method, 10) == 255 * value)


def test_alpha_beside_a_half_plane_is_the_same_in_every_row():
    mask = np.zeros((50, 60), bool)
    mask[:, :20] = True
    alpha = feather(mask, FeatherMethod.LINEAR, 5)
    assert np.all(alpha == alpha[0])
    assert alpha[0, 18:27].tolist() == [255, 255, 204, 153, 102, 51, 0, 0, 0]
