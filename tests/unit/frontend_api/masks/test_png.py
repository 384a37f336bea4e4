import io
import threading
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from frontend_api.masks.png import encode_png
from tests.support.pictures import disc, photo

sides = st.integers(1, 40)


def strictly_decoded(data):
    """Decode with Pillow, checksums and all."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        picture.verify()
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        return picture.mode, np.asarray(picture)


@given(st.tuples(sides, sides).flatmap(lambda size: arrays.arrays(np.uint8, size)))
@settings(deadline=None)
def test_grey_pictures_come_back_unchanged(pixels):
    mode, decoded = strictly_decoded(encode_png(pixels))
    assert mode == "L"
    assert np.array_equal(decoded, pixels)


@given(st.tuples(sides, sides, st.just(4)).flatmap(lambda size: arrays.arrays(np.uint8, size)))
@settings(deadline=None)
def test_rgba_pictures_come_back_unchanged(pixels):
    mode, decoded = strictly_decoded(encode_png(pixels))
    assert mode == "RGBA"
    assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1), (1200, 1800), (3000, 4000)])
def test_pictures_of_any_size_come_back_unchanged_from_another_decoder(size):
    grey = disc(*size)
    rgba = np.dstack([photo(*size), grey])
    assert np.array_equal(cv2.imdecode(np.frombuffer(encode_png(grey), np.uint8), -1), grey)
    decoded = cv2.imdecode(np.frombuffer(encode_png(rgba), np.uint8), -1)
    assert np.array_equal(decoded[..., [2, 1, 0, 3]], rgba)


def test_incompressible_pictures_come_back_unchanged():
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 4), np.uint8)
    data = encode_png(noise)
    assert np.array_equal(strictly_decoded(data)[1], noise)
    assert len(data) < 1.02 * noise.nbytes


def test_parts_of_larger_arrays_and_read_only_arrays_are_encoded():
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 4), np.uint8)
    noise.flags.writeable = False
    assert np.array_equal(strictly_decoded(encode_png(noise[5:20, 7:30]))[1], noise[5:20, 7:30])
    assert np.array_equal(strictly_decoded(encode_png(noise[::2, ::3, 1]))[1], noise[::2, ::3, 1])


def test_an_empty_mask_is_a_small_file():
    assert len(encode_png(np.zeros((3000, 4000), np.uint8))) < 100_000


def test_other_threads_run_meanwhile():
    """The interpreter lock is released: a thread that only counts gets its turns while encoding goes on."""
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 4), np.uint8)
    begun, ended, ticks = threading.Event(), threading.Event(), []

    def tick():
        begun.set()
        while not ended.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    begun.wait()
    encode_png(noise)
    ended.set()
    thread.join()
    assert len(ticks) > 20
