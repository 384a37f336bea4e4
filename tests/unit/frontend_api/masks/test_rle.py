import numpy as np
import pytest
from pycocotools import mask as coco

from frontend_api.masks.rle import encode_rle
from tests.support.masks import boxed, kinds_of_masks

SIZES = [(1, 1), (1, 40), (40, 1), (7, 5), (50, 33), (300, 411)]


@pytest.mark.parametrize("size", SIZES)
def test_run_lengths_are_pycocotools_byte_for_byte(size):
    for mask in kinds_of_masks(*size, seed=0):
        expected = coco.encode(np.asfortranarray(mask.view(np.uint8)))
        assert encode_rle(boxed(mask), *size) == {"size": [*size], "counts": expected["counts"].decode()}


def test_a_long_run_takes_as_many_characters_as_it_needs():
    mask = np.zeros((9000, 7000), np.bool_)
    mask[-1, -1] = True
    expected = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    assert encode_rle(boxed(mask), 9000, 7000)["counts"] == expected["counts"].decode()
