"""Pixels to the encoder's input, as `segment_anything.utils.transforms.ResizeLongestSide` does it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MODEL_SIDE = 1024
"""Side of the square frame in which SAM sees a picture, in pixels."""


def model_size(height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) of a picture in SAM's frame: its longest side is `MODEL_SIDE`.

    Where `ResizeLongestSide` rounds a side of a very long picture down to no pixel at all, and fails,
    one pixel is kept.
    """
    scale = MODEL_SIDE * 1.0 / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def to_model_frame(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize a picture into the top left of SAM's frame.

    Args:
        image: RGB, [H, W, 3].

    Returns:
        RGB, [1024, 1024, 3], zero outside `model_size`.
    """
    height, width = model_size(*image.shape[:2])
    frame = np.zeros((MODEL_SIDE, MODEL_SIDE, 3), np.uint8)
    # Pillow's bilinear filter (antialiased), since torchvision resizes SAM's PIL images with it.
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    frame[:height, :width] = np.asarray(resized)
    return frame
