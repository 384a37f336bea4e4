"""Where a mask lies, how large it is, and how sure of its edge the model is."""

from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.upsampling import BoxedMask, upsample_mask

_OFFSET = 1.0  # of the logits; SamAutomaticMaskGenerator's default


class Measures(TypedDict):
    """What is measured of SAM's mask, unfeathered.

    Attributes:
        bbox: x, y, width and height in pixels; all 0 for an empty mask.
        area: pixels.
        stability: 0…1, see `measure`.
    """

    bbox: list[int]
    area: int
    stability: float


def measure(mask: BoxedMask, logits: NDArray[np.float32], height: int, width: int) -> Measures:
    """Measure a mask.

    Stability is the share of the pixels whose logit is above −1 that also are above +1: the IoU of the masks at two
    thresholds, `calculate_stability_score` in segment-anything's `utils/amg.py`.

    Args:
        mask: where the logits are above 0, in an image of `height` × `width` pixels.
        logits: low-resolution, [256, 256].
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    left, top, box_width, box_height = cv2.boundingRect(mask.inside.view(np.uint8))
    corner = [left + mask.box.left, top + mask.box.top] if box_width else [0, 0]
    surer, less_sure = (
        int(np.count_nonzero(upsample_mask(logits + shift, height, width).inside)) for shift in (-_OFFSET, _OFFSET)
    )
    return {
        "bbox": [*corner, box_width, box_height],
        "area": int(np.count_nonzero(mask.inside)),
        "stability": surer / less_sure if less_sure else 0.0,
    }
