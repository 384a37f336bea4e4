"""Cut-out clip art as material of scenes: pictures with alpha, their parts, and who may see them.

The files are those of Debian's package `openclipart-png` (public domain); any folder of PNG files with alpha works.
"""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "held_out"]

SIZE = 288  # pixels of a sprite's longer side
HELD_OUT_SHARE = 0.1
MAX_PARTS = 6
_MIN_PART = 0.04  # of the sprite's area
_MAX_PART = 0.7
_MAX_ASPECT = 6
_MAX_FILL = 0.97  # of the bounding box: what is fuller is a picture, not a cut-out


@dataclass(frozen=True)
class Sprite:
    """A cut-out.

    Attributes:
        rgba: uint8 [H,W,4].
        parts: uint8 [H,W]; 0 is no part, 1…MAX_PARTS are connected regions of similar colour.
    """

    rgba: NDArray[np.uint8]
    parts: NDArray[np.uint8]


def split_of(name: str) -> Split:
    """Return who sees the file of this name: the same answer everywhere, for ever."""
    digest = hashlib.sha256(name.encode()).digest()
    return "held_out" if digest[0] < 256 * HELD_OUT_SHARE else "train"


def is_pattern(path: Path) -> bool:
    """Return whether the file is a ground rather than an object."""
    return path.parent.name in {"patterns", "gradients", "textures", "backgrounds"}


def read(path: Path) -> Sprite | None:
    """Return the cut-out in a PNG file, or None if it holds none that a scene can use."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        return None
    solid = image[..., 3] > 127
    if solid.sum() < 400:
        return None
    y, x, height, width = _bounds(solid)
    image, solid = image[y : y + height, x : x + width], solid[y : y + height, x : x + width]
    if max(height / width, width / height) > _MAX_ASPECT or solid.mean() > _MAX_FILL:
        return None
    rgba = _scale(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA), SIZE)
    if cv2.connectedComponents((rgba[..., 3] > 127).astype(np.uint8))[0] > 4:
        return None
    return Sprite(rgba, find_parts(rgba))


def find_parts(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the largest connected regions of similar colour, [H,W,4] → [H,W], numbered from 1 by size."""
    height, width = rgba.shape[:2]
    small = _scale(rgba, 144)
    solid = small[..., 3] > 127
    smooth = cv2.medianBlur(np.ascontiguousarray(small[..., :3]), 5)
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32)
    pixels = lab[solid]
    if len(pixels) < 64:
        return np.zeros((height, width), np.uint8)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    cv2.setRNGSeed(0)
    _, colours, centres = cv2.kmeans(pixels, 5, np.empty(0), criteria, 1, cv2.KMEANS_PP_CENTERS)
    colours = _merge_similar(colours.ravel(), centres)
    clusters = np.zeros(solid.shape, np.uint8)
    clusters[solid] = colours + 1
    clusters = cv2.medianBlur(clusters, 5) * solid
    regions = []
    for cluster in np.unique(clusters[clusters > 0]):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((clusters == cluster).astype(np.uint8), connectivity=4)
        for label in range(1, len(stats)):
            area = stats[label, cv2.CC_STAT_AREA]
            if _MIN_PART < area / solid.sum() < _MAX_PART and _is_compact(labels == label):
                regions.append((area, labels == label))
    regions.sort(key=lambda region: -region[0])
    parts = np.zeros(solid.shape, np.uint8)
    for number, (_, region) in enumerate(regions[:MAX_PARTS], 1):
        parts[region] = number
    return cv2.resize(parts, (width, height), interpolation=cv2.INTER_NEAREST) * (rgba[..., 3] > 127)


def load(folder: Path, cache: Path, split: Split) -> tuple[list[Sprite], list[NDArray[np.uint8]]]:
    """Return the sprites and the patterns (uint8 [H,W,3]) of one split; the first call reads for minutes."""
    file = cache / f"{split}.pickle"
    if not file.exists():
        sprites, patterns = [], []
        for path in sorted(folder.rglob("*.png")):
            if split_of(path.name) != split:
                continue
            # Fourteen hundred of the files are nearly the same star.
            if path.parent.name == "stars" and hashlib.sha256(path.name.encode()).digest()[1] > 32:
                continue
            if is_pattern(path):
                picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
                if picture is not None:
                    patterns.append(np.ascontiguousarray(_scale(picture, SIZE)[..., ::-1]))
            elif (sprite := read(path)) is not None:
                sprites.append(sprite)
        cache.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_bytes(pickle.dumps((sprites, patterns), protocol=5))
        partial.replace(file)
    return pickle.loads(file.read_bytes())


def _bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return y, x, height, width


def _scale(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    scale = longest / max(image.shape[:2])
    size = (max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _merge_similar(colours: NDArray[np.int32], centres: NDArray[np.float32]) -> NDArray[np.uint8]:
    names = np.arange(len(centres))
    for i in range(len(centres)):
        for j in range(i):
            if np.linalg.norm(centres[i] - centres[j]) < 18:
                names[names == names[i]] = names[j]
    return names[colours].astype(np.uint8)


def _is_compact(region: NDArray[np.bool_]) -> bool:
    """Return whether the region is more than an outline."""
    distance = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 3)
    return bool(distance.max() > 0.18 * np.sqrt(region.sum()))
