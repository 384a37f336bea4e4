"""What is asked: photos of three sizes, in each an object of three sizes, and a box drawn around it.

The ground is scikit-image's photo of a cup of coffee, the object an ellipse of its cat, both under a tint that a small
model can tell apart, with grain as of a camera. All three candidates are then of about the object's size, from the
shipped model at least; the results say how large they really were.
"""

import io
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

SIZES = {"800×534": (800, 534), "1800×1200": (1800, 1200), "4000×3000": (4000, 3000)}
MASKS = {"small": 0.01, "medium": 0.12, "large": 0.6}
"""The object's share of the picture."""
_INK, _PAPER = np.array([[30, 80, 200], [220, 210, 190]], np.float32)
_TEXTURE = np.float32(0.25)
_GRAIN = 3.0


@dataclass(frozen=True)
class Photo:
    """A picture with an object in its middle.

    Attributes:
        size: a key of `SIZES`.
        mask: a key of `MASKS`.
        seed: makes different pictures of one kind.
    """

    size: str
    mask: str
    seed: int = 0

    @cached_property
    def jpeg(self) -> bytes:
        """The picture as it is uploaded."""
        width, height = SIZES[self.size]
        ground, cat = (
            cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
            for picture in (data.coffee(), data.chelsea())
        )
        ellipse = np.zeros((height, width), np.uint8)
        centre, axes = (width // 2, height // 2), self._axes.astype(int).tolist()
        cv2.ellipse(ellipse, centre, axes, 0, 0, 360, 1, -1)
        texture = _TEXTURE * np.where(ellipse[..., None], cat, ground).astype(np.float32)
        picture = texture + (1 - _TEXTURE) * np.where(ellipse[..., None], _INK, _PAPER)
        grain = np.random.default_rng(self.seed).normal(0, _GRAIN, (701, 701, 3)).astype(np.float32)
        picture += np.tile(grain, (-(-height // 701), -(-width // 701), 1))[:height, :width]
        buffer = io.BytesIO()
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture as everybody sees it: RGB, [H, W, 3]."""
        return np.asarray(Image.open(io.BytesIO(self.jpeg)))

    def box(self, number: int) -> list[float]:
        """Return the box of click `number`, x0, y0, x1, y1: around the object, no two the same."""
        size = np.array(SIZES[self.size])
        jitter = 1 + np.random.default_rng([self.seed, number]).uniform(0, 0.04, (2, 1))
        corners = size / 2 + np.array([[-1], [1]]) * jitter * self._axes
        return [round(float(value), 1) for value in corners.clip(0, size).ravel()]

    @property
    def _axes(self) -> NDArray[np.float64]:
        return np.sqrt(MASKS[self.mask] / np.pi) * np.array(SIZES[self.size])
