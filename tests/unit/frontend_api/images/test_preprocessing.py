import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from frontend_api.images.preprocessing import MODEL_SIDE, model_size, to_model_frame
from tests.support.pictures import photo

sides = st.integers(1, 20_000)


@given(sides, sides)
def test_size_in_sams_frame_is_that_of_segment_anything(height, width):
    theirs = ResizeLongestSide.get_preprocess_shape(height, width, MODEL_SIDE)
    assert model_size(height, width) == tuple(max(1, side) for side in theirs)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_very_long_pictures_keep_one_pixel(size):
    height, width = model_size(*size)
    assert min(height, width) >= 1
    assert max(height, width) == MODEL_SIDE


@pytest.mark.parametrize(
    "size", [(1, 1), (3, 2), (1, 700), (48, 64), (683, 1024), (1024, 1024), (1500, 2250), (2401, 1333)]
)
def test_the_frame_holds_the_picture_as_segment_anything_resizes_it(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = ResizeLongestSide(MODEL_SIDE).apply_image(noise)

    frame = to_model_frame(noise)

    height, width = expected.shape[:2]
    assert frame.shape == (MODEL_SIDE, MODEL_SIDE, 3)
    assert frame.dtype == np.uint8
    assert np.array_equal(frame[:height, :width], expected)
    assert not frame[height:].any()
    assert not frame[:, width:].any()


def test_the_frame_of_a_read_only_picture_is_made_and_leaves_it_alone():
    picture = photo()
    picture.flags.writeable = False
    to_model_frame(picture)
    assert np.array_equal(picture, photo())
