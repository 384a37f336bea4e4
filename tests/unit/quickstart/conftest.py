from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.quickstart.scenes import Material
from models.quickstart.sprites import Sprite, find_parts


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors are slower with many threads, much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn_sprite(colour: tuple[int, int, int]) -> Sprite:
    """A disc with a square of another colour on it."""
    rgba: NDArray[np.uint8] = np.zeros((200, 160, 4), np.uint8)
    cv2.ellipse(rgba, (80, 100), (70, 90), 0, 0, 360, (*colour, 255), -1)
    rgba[60:120, 50:110, :3] = 255 - np.array(colour)
    return Sprite(rgba, find_parts(rgba))


@pytest.fixture(scope="session")
def material() -> Material:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::4] = 200
    return Material([drawn_sprite((200, 40, 40)), drawn_sprite((20, 90, 180))], [stripes])
