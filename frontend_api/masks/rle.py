"""COCO's compressed run-length encoding, byte for byte as pycocotools writes it.

Runs of 0 and 1 in turn, column by column, beginning with 0; each length but the first three as the difference to the
one two before; in groups of five bits, least first, as printable characters (`rleToString` in cocoapi's `maskApi.c`).
"""

from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from frontend_api.masks.upsampling import BoxedMask

_GROUPS = 13  # of five bits hold any 64-bit number and its sign


class RunLengths(TypedDict):
    """A mask as COCO has it: its height and width, and its runs."""

    size: list[int]
    counts: str


def encode_rle(mask: BoxedMask, height: int, width: int) -> RunLengths:
    """Encode the mask of an image of `height` × `width` pixels, looking inside its box alone."""
    counts = _run_lengths(mask, height, width)
    counts[3:] = counts[3:] - counts[1:-2]
    groups = np.empty((len(counts), _GROUPS), np.uint8)
    used = np.zeros((len(counts), _GROUPS), np.bool_)
    more = np.ones(len(counts), np.bool_)
    for number in range(_GROUPS):
        used[:, number] = more
        low = counts & 0x1F
        counts >>= 5
        more = more & np.where(low & 0x10, counts != -1, counts != 0)
        groups[:, number] = low + 0x20 * more + 48
    return {"size": [height, width], "counts": groups[used].tobytes().decode("ascii")}


def _run_lengths(mask: BoxedMask, height: int, width: int) -> NDArray[np.int64]:
    if not mask.inside.any():
        return np.array([height * width], np.int64)
    # Columns become rows, by OpenCV, which is far quicker at that than numpy.
    columns = cv2.transpose(mask.inside.view(np.uint8))
    framed = cv2.copyMakeBorder(columns, 0, 0, 1, 1, cv2.BORDER_CONSTANT, value=[0])
    column, row = np.nonzero(framed[:, 1:] != framed[:, :-1])
    changes = (mask.box.left + column.astype(np.int64)) * height + mask.box.top + row
    # A run that reaches the bottom of a column goes on where the next begins at its top.
    seams = np.flatnonzero(changes[1:] == changes[:-1])
    changes = np.delete(changes, np.concatenate([seams, seams + 1]))
    lengths = np.diff(changes, prepend=0, append=height * width)
    return lengths if lengths[-1] else lengths[:-1]
