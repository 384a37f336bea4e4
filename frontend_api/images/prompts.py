"""What a person pointed at, in pixels, to the decoder's inputs, as `SamPredictor` composes them."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.errors import InvalidPrompt
from frontend_api.images.preprocessing import MODEL_SIDE, model_size

MASK_SIDE = 256
"""Side of the decoder's masks, in and out: a quarter of SAM's frame."""

NOT_A_POINT = -1
BOX_CORNERS = (2, 3)
PADDING = -2
_SHORTEST_BUCKET = 4
_STRONGEST_LOGIT = 10.0


@dataclass(frozen=True)
class Prompt:
    """What a person pointed at.

    Attributes:
        points: (x, y) in pixels of the oriented image, [P, 2]; P may be 0.
        labels: 1 foreground, 0 background, [P].
        box: (x0, y0, x1, y1) in pixels, [4].
        mask: logits as `mask_prompt_logits` makes them, [256, 256].
    """

    points: NDArray[np.floating[Any]]
    labels: NDArray[np.int32]
    box: NDArray[np.floating[Any]] | None = None
    mask: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ModelPrompt:
    """The decoder's inputs for one prompt, without the batch axis.

    Attributes:
        point_coords: (x, y) in SAM's 1024 frame, [N, 2]; N is 4, 8, 16, …
        point_labels: 1 foreground, 0 background, 2 and 3 box corners, -1 SAM's "not a point",
            -2 padding that attention does not see, [N].
        mask_input: logits, [1, 256, 256].
        has_mask_input: 1 where `mask_input` counts, else 0, [1].
    """

    point_coords: NDArray[np.float32]
    point_labels: NDArray[np.int32]
    mask_input: NDArray[np.float32]
    has_mask_input: NDArray[np.float32]


def require_inside(prompt: Prompt, height: int, width: int) -> None:
    """Raise InvalidPrompt if a point or the box lies outside an image of `height` × `width` pixels."""
    outside = (prompt.points < 0).any(axis=1) | (prompt.points > (width, height)).any(axis=1)
    if outside.any():
        x, y = prompt.points[outside][0]
        raise InvalidPrompt(f"point ({x:g}, {y:g}) lies outside the image of {width} × {height} pixels")
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InvalidPrompt(
                f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) must satisfy x0 < x1 and y0 < y1 "
                f"inside the image of {width} × {height} pixels"
            )


def to_model_prompt(prompt: Prompt, height: int, width: int) -> ModelPrompt:
    """Transform a prompt for an image of `height` × `width` pixels.

    As in `SamPredictor`, points without a box get one "not a point" beside them, and the corners of a box
    count as two points. The points are then padded to a common length, so that prompts of several requests
    can share a batch.
    """
    model_height, model_width = model_size(height, width)
    # In double precision up to here and no further, as SAM has it.
    scale = np.array([model_width / width, model_height / height], np.float64)
    coords = [np.asarray(prompt.points, np.float64).reshape(-1, 2) * scale]
    labels = [*prompt.labels.tolist()]
    if prompt.box is not None:
        coords.append(np.asarray(prompt.box, np.float64).reshape(2, 2) * scale)
        labels += BOX_CORNERS
    elif labels:
        coords.append(np.zeros((1, 2)))
        labels.append(NOT_A_POINT)

    length = max(_SHORTEST_BUCKET, 1 << (len(labels) - 1).bit_length()) if labels else _SHORTEST_BUCKET
    point_coords = np.zeros((length, 2), np.float32)
    point_coords[: len(labels)] = np.concatenate(coords)
    point_labels = np.full(length, PADDING, np.int32)
    point_labels[: len(labels)] = labels

    mask_input = np.zeros((1, MASK_SIDE, MASK_SIDE), np.float32)
    if prompt.mask is not None:
        mask_input[0] = prompt.mask
    has_mask_input = np.array([prompt.mask is not None], np.float32)
    return ModelPrompt(point_coords, point_labels, mask_input, has_mask_input)


def mask_prompt_logits(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Turn a white-on-black mask picture into SAM's mask prompt.

    SAM takes the unthresholded logits of its own previous round (`SamPredictor.predict`, `mask_input`), not a
    binary mask. Black becomes −10 and white +10, logits as good as certain (the sigmoid is within 5e-5 of 0
    or 1) without being extreme. What lies between is linear, so that the logits change sign where half of a
    cell is covered: the threshold 0 gives back the mask.

    Args:
        mask: grey, [h, w], white inside; any size of the image's aspect ratio.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        [256, 256], −10…10; −10 outside of the image.

    Raises:
        InvalidPrompt: the mask has not the aspect ratio of the image.
    """
    mask_height, mask_width = mask.shape
    # A scaled copy of the image has sides that are rounded to whole pixels.
    if min(abs(mask_width - mask_height * width / height), abs(mask_height - mask_width * height / width)) > 1:
        raise InvalidPrompt(
            f"the mask has {mask_width}×{mask_height} pixels, the image {width}×{height}: "
            "the mask must be a picture of the same size or the same aspect ratio"
        )
    model_height, model_width = model_size(height, width)
    cell = MODEL_SIDE // MASK_SIDE
    frame = cv2.resize(mask, (model_width, model_height), interpolation=cv2.INTER_AREA)
    # A cell that the image covers in part counts by that part alone.
    frame = cv2.copyMakeBorder(frame, 0, -model_height % cell, 0, -model_width % cell, borderType=cv2.BORDER_REPLICATE)
    size = frame.shape[1] // cell, frame.shape[0] // cell
    coverage = cv2.resize(frame.astype(np.float32) / 255, size, interpolation=cv2.INTER_AREA)
    logits = np.full((MASK_SIDE, MASK_SIDE), -_STRONGEST_LOGIT, np.float32)
    logits[: size[1], : size[0]] = (2 * coverage - 1) * _STRONGEST_LOGIT
    return logits
