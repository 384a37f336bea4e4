"""Scenes and prompts as tensors, read by worker processes while the network trains."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from models.quickstart.pack import read
from models.quickstart.prompts import Prompt, ask
from models.quickstart.scenes import Scene

ANSWERS = 3
NEAR = 0.02  # of the picture's side: what lies nearer to the object is not far from it
FAR = 0.08
_CROPPED = 0.5  # of the pictures
_LOOK_AGAIN = 100  # pictures, after which new scenes are looked for


class Batch(NamedTuple):
    """B pictures of S × S pixels with P prompts each; M = S / 4 is the side of the masks.

    Attributes:
        images: uint8 [B,S,S,3], zero outside the picture.
        sizes: int64 [B,2], (height, width) of the picture.
        coords: float32 [B·P,2,2].
        labels: int64 [B·P,2].
        answers: [B·P,3,M,M], share of each mask pixel that is covered: uint8, 0…255, and once read float32, 0…1.
        valid: bool [B·P,3].
        intended: int64 [B·P].
        distance: [B·P,M,M], 0 near the clicked object and 255 or 1 far from it, as answers.
    """

    images: Tensor
    sizes: Tensor
    coords: Tensor
    labels: Tensor
    answers: Tensor
    valid: Tensor
    intended: Tensor
    distance: Tensor

    def read(self) -> "Batch":
        """Return the batch as the network takes it."""
        return self._replace(answers=self.answers / 255, distance=self.distance / 255)


class Samples(IterableDataset[Batch]):
    """An endless stream of batches, each of one scene."""

    def __init__(self, scenes: Path, size: int, prompts: int, seed: list[int]) -> None:
        self.scenes, self.size, self.prompts, self.seed = scenes, size, prompts, seed

    def __iter__(self) -> Iterator[Batch]:
        """Yield one scene after another, others in every worker process."""
        worker = get_worker_info()
        rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        while True:
            files = sorted(self.scenes.glob("*.npz"))
            for _ in range(_LOOK_AGAIN):
                scene = augmented(read(files[rng.integers(len(files))]), self.size, rng)
                prompts = [prompt for _ in range(self.prompts) if (prompt := ask(scene, rng))]
                if len(prompts) == self.prompts:
                    yield _tensors(scene.image, prompts, self.size)


def stream(scenes: Path, size: int, batch: int, prompts: int, seed: list[int]) -> DataLoader[Batch]:
    """Return endless batches of `batch` pictures with `prompts` prompts each, read by a process beside this one."""
    return DataLoader(
        Samples(scenes, size, prompts, seed),
        batch_size=batch,
        num_workers=1,
        collate_fn=join,
        worker_init_fn=_start_worker,
        multiprocessing_context="fork",
        prefetch_factor=3,
    )


def _start_worker(_: int) -> None:
    os.nice(2)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def join(items: list[Batch]) -> Batch:
    """Return one batch of all pictures."""
    return Batch(*(torch.cat(parts) for parts in zip(*items, strict=True)))


def augmented(scene: Scene, size: int, rng: Generator) -> Scene:
    """Return the scene cropped, mirrored, in other colours, its longer side `size` pixels."""
    image, levels = scene.image, scene.levels.transpose(1, 2, 0)
    if rng.random() < _CROPPED:
        height, width = (int(side * rng.uniform(0.5, 1)) for side in image.shape[:2])
        y, x = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
        image, levels = image[y : y + height, x : x + width], levels[y : y + height, x : x + width]
    if rng.random() < 0.5:
        image, levels = image[:, ::-1], levels[:, ::-1]
    if rng.random() < 0.1:
        image, levels = image.transpose(1, 0, 2), levels.transpose(1, 0, 2)
    scale = size / max(image.shape[:2])
    shape = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(image), shape, interpolation=interpolation)
    levels = cv2.resize(np.ascontiguousarray(levels), shape, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.6:
        tones = np.arange(256) / 255
        gain, power = rng.uniform(0.8, 1.15, 3), rng.uniform(0.75, 1.3)
        curves = np.clip(255 * tones[:, None] ** power * gain, 0, 255).astype(np.uint8)
        image = cv2.LUT(image, curves[None])
    return Scene(image, np.ascontiguousarray(levels.transpose(2, 0, 1)))


def _tensors(image: NDArray[np.uint8], prompts: list[Prompt], size: int) -> Batch:
    side = size // 4
    answers = np.zeros((len(prompts), ANSWERS, side, side), np.uint8)
    distance = np.zeros((len(prompts), side, side), np.uint8)
    for i, prompt in enumerate(prompts):
        for j, mask in enumerate(prompt.answers):
            answers[i, j] = _shrunk(mask, size)
        distance[i] = _distance(_shrunk(prompt.outer, size))
    padded = np.zeros((size, size, 3), np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    counts = np.array([len(prompt.answers) for prompt in prompts])
    return Batch(
        torch.from_numpy(padded)[None],
        torch.tensor([image.shape[:2]]),
        torch.from_numpy(np.stack([prompt.coords for prompt in prompts])),
        torch.from_numpy(np.stack([prompt.labels for prompt in prompts])),
        torch.from_numpy(answers),
        torch.from_numpy(np.arange(ANSWERS) < counts[:, None]),
        torch.tensor([prompt.intended for prompt in prompts]),
        torch.from_numpy(distance),
    )


def _shrunk(mask: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Return the covered share, 0…255, of each pixel of the padded, four times smaller mask."""
    padded = np.zeros((size, size), np.uint8)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return cv2.resize(padded * np.uint8(255), (size // 4, size // 4), interpolation=cv2.INTER_AREA)


def _distance(outer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = cv2.distanceTransform((outer < 64).astype(np.uint8), cv2.DIST_L2, 3) / len(outer)
    return (255 * np.clip((pixels - NEAR) / (FAR - NEAR), 0, 1)).astype(np.uint8)
