"""Masks of all kinds, and their boxes."""

import cv2
import numpy as np

from frontend_api.masks.box import Box
from frontend_api.masks.upsampling import BoxedMask


def boxed(mask):
    """Return a mask [H, W] as what is inside its box."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    inside = np.ascontiguousarray(mask[top : top + height, left : left + width])
    return BoxedMask(Box(top, left, top + height, left + width), inside)


def kinds_of_masks(height, width, seed):
    """Yield noise, blobs, a line, everything, a single pixel, a ring and nothing, of [height, width]."""
    random = np.random.default_rng(seed)
    noise = random.random((height, width))
    yield noise > 0.5
    yield cv2.GaussianBlur(noise, (0, 0), 3) > 0.5
    line = np.zeros((height, width), np.bool_)
    line[height // 2] = True
    yield line
    yield np.ones((height, width), np.bool_)
    pixel = np.zeros((height, width), np.bool_)
    pixel[random.integers(height), random.integers(width)] = True
    yield pixel
    ring = np.zeros((height, width), np.uint8)
    cv2.circle(ring, (width // 2, height // 2), min(height, width) // 2, 1, -1)
    cv2.circle(ring, (width // 2, height // 2), min(height, width) // 4, 0, -1)
    yield ring.view(np.bool_)
    yield np.zeros((height, width), np.bool_)
