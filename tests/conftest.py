"""Fixtures for all tests."""

import io

import pytest
import skimage.data
from PIL import Image


@pytest.fixture(scope="session")
def astronaut():
    """A real photo: uint8 (512, 512, 3)."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def photo_jpeg(astronaut):
    """A real photo as JPEG bytes, 300 × 200."""
    buffer = io.BytesIO()
    Image.fromarray(astronaut[:400]).resize((300, 200)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
