"""The decoder's logits to the size of the image, as `Sam.postprocess_masks` does it.

That is: bilinear to SAM's 1024 frame, cut to the image's part of it, bilinear to the image's size, pixel
centres aligned (`torch.nn.functional.interpolate(..., align_corners=False)`, whose index arithmetic in
single precision is followed here).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.images.preprocessing import MODEL_SIDE, model_size
from frontend_api.masks.box import Box

_STRIP_PIXELS = 64 * 1024


@dataclass(frozen=True)
class BoxedMask:
    """A binary mask of an image, false outside of `box`.

    Attributes:
        box: where in the image.
        inside: the mask there, [box.height, box.width].
    """

    box: Box
    inside: NDArray[np.bool_]


def upsample_logits(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bring low-resolution logits to the size of the image.

    Args:
        logits: [256, 256].
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        [height, width].
    """
    frame = _model_frame(logits, height, width)
    rows = _Axis.between(frame.shape[0], height)
    columns = _Axis.between(frame.shape[1], width)
    return rows.interpolate(_transposed(columns.interpolate(_transposed(frame))))


def upsample_mask(logits: NDArray[np.float32], height: int, width: int) -> BoxedMask:
    """Return where `upsample_logits` is above SAM's threshold, 0, computed only where it can be.

    Args:
        logits: [256, 256].
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    frame = _model_frame(logits, height, width)
    # An interpolated value is positive only next to a positive one.
    left, top, box_width, box_height = cv2.boundingRect((frame > 0).view(np.uint8))
    rows = _Axis.between(frame.shape[0], height).touching(top, top + box_height)
    columns = _Axis.between(frame.shape[1], width).touching(left, left + box_width)
    box = Box(rows.start, columns.start, rows.start + len(rows.low), columns.start + len(columns.low))
    inside = np.empty((box.height, box.width), np.bool_)
    if inside.size:
        frame_rows, rows = rows.cut()
        frame_columns, columns = columns.cut()
        narrowed = _transposed(columns.interpolate(_transposed(frame[frame_rows, frame_columns])))
        strip = max(1, _STRIP_PIXELS // box.width)  # floats of one strip stay in the processor's cache
        for first in range(0, box.height, strip):
            part = slice(first, first + strip)
            np.greater(rows.part(part).interpolate(narrowed), 0, out=inside[part])
    return BoxedMask(box, inside)


def _model_frame(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return the image's part of SAM's 1024 frame."""
    model_height, model_width = model_size(height, width)
    # OpenCV's formula is the same, and all weights of a fourfold enlargement are exact.
    frame = cv2.resize(logits, (MODEL_SIDE, MODEL_SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(frame[:model_height, :model_width], np.float32)


def _transposed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the transpose as an array of its own: whole rows are picked much faster than columns."""
    return np.asarray(cv2.transpose(values), np.float32)


@dataclass(frozen=True)
class _Axis:
    """Linear interpolation along one axis: result i is low[i] and high[i] of the source, weighted.

    Attributes:
        start: the first result's place on the whole axis.
        low: index of the lower neighbour.
        high: index of the upper neighbour.
        weight: of the upper neighbour, 0…1.
    """

    start: int
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32]

    @classmethod
    def between(cls, source: int, target: int) -> "_Axis":
        scale = np.float32(source) / np.float32(target)
        place = np.maximum(scale * (np.arange(target, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
        low = np.minimum(place.astype(np.intp), source - 1)
        weight = np.minimum(place - low.astype(np.float32), np.float32(1))
        return cls(0, low, np.minimum(low + 1, source - 1), weight)

    def touching(self, first: int, end: int) -> "_Axis":
        """Return the part with a neighbour among first…end-1 of the source."""
        start = int(np.searchsorted(self.high, first))
        return self.part(slice(start, max(start, int(np.searchsorted(self.low, end)))))

    def part(self, which: slice) -> "_Axis":
        return _Axis(self.start + which.start, self.low[which], self.high[which], self.weight[which])

    def cut(self) -> tuple[slice, "_Axis"]:
        """Return the part of the source that is read, and the axis that reads it from that part alone."""
        read = slice(int(self.low[0]), int(self.high[-1]) + 1)
        return read, _Axis(self.start, self.low - read.start, self.high - read.start, self.weight)

    def interpolate(self, source: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate along the first axis of [n, m]."""
        weight = self.weight[:, None]
        result = source[self.low]
        result *= 1 - weight
        upper = source[self.high]
        upper *= weight
        result += upper
        return result
