from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.quickstart import pack
from models.quickstart.cutouts import CutOut, Material, find_parts
from models.quickstart.scenes import compose


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors are slower with many threads, much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cut_out(colour: tuple[int, int, int]) -> CutOut:
    """A disc with a square of another colour on it."""
    rgba: NDArray[np.uint8] = np.zeros((200, 160, 4), np.uint8)
    cv2.ellipse(rgba, (80, 100), (70, 90), 0, 0, 360, (*colour, 255), -1)
    rgba[60:120, 50:110, :3] = 255 - np.array(colour)
    return CutOut(rgba, find_parts(rgba))


@pytest.fixture(scope="session")
def material() -> Material:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::4] = 200
    photo = CutOut(cut_out((90, 60, 30)).rgba, None)
    return Material([photo], [cut_out((200, 40, 40)), cut_out((20, 90, 180))], [stripes], [stripes])


@pytest.fixture(scope="session")
def scenes(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packed scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(6):
        pack.write(compose(160, np.random.default_rng(seed), material), folder / f"{seed}.npz")
    return folder
