"""Cut-outs and grounds as material of scenes: pictures with alpha, their parts, and who may see them."""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "held_out"]

PHOTO_SIDE = 512  # pixels of a photographic cut-out's longer side, at most
DRAWING_SIDE = 256
GROUND_SIDE = 1600
HELD_OUT_SHARE = 0.1
MAX_PARTS = 6
_MIN_PART = 0.04  # of the cut-out's area
_MAX_PART = 0.7
_MAX_ASPECT = 6
_LARGEST_FILE = 1_500_000  # bytes
_MAX_FILL = 0.97  # of the bounding box: what is fuller is a picture, not a cut-out
_PHOTO_COLOURS = 350  # a photo has more of the 32,768 colours of five bits a channel
_PHOTO_FLATNESS = 0.35  # and fewer neighbours of equal colour


@dataclass(frozen=True)
class CutOut:
    """A picture of one thing.

    Attributes:
        rgba: uint8 [H,W,4].
        parts: uint8 [H,W]; 0 is no part, 1…MAX_PARTS are connected regions of similar colour; None of a photo.
    """

    rgba: NDArray[np.uint8]
    parts: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Material:
    """What scenes of one split are made of: cut-outs that are photos or drawings, photos and patterns as grounds."""

    photos: Sequence[CutOut]
    drawings: Sequence[CutOut]
    grounds: Sequence[NDArray[np.uint8]]
    patterns: Sequence[NDArray[np.uint8]]


def split_of(name: str) -> Split:
    """Return who sees the file of this name: the same answer everywhere, for ever."""
    digest = hashlib.sha256(name.encode()).digest()
    return "held_out" if digest[0] < 256 * HELD_OUT_SHARE else "train"


def load(
    photos: Sequence[Path], drawings: Sequence[Path], grounds: Sequence[Path], cache: Path, split: Split
) -> Material:
    """Return the material of one split; the first call reads the folders for minutes.

    Args:
        photos: folders of cut-outs with alpha; what is no photo among them is a drawing.
        drawings: folders of drawings with alpha; those in folders named patterns and the like are patterns.
        grounds: folders of photos and files of single photos.
        cache: where the material is kept in ready form.
        split: whose.
    """
    file = cache / f"{split}.pickle"
    if not file.exists():
        seen: list[CutOut] = []
        drawn: list[CutOut] = []
        patterns = []
        for path in _pictures([*photos, *drawings]):
            if split_of(path.name) != split or _is_unwanted(path):
                continue
            if path.parent.name in {"patterns", "gradients", "textures", "backgrounds"}:
                patterns.append(_shrink(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), DRAWING_SIDE))
            elif (cutout := read(path, may_be_photo=any(path.is_relative_to(folder) for folder in photos))) is not None:
                (seen if cutout.parts is None else drawn).append(cutout)
        scenery = [
            _shrink(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), GROUND_SIDE)
            for path in _pictures(grounds)
            if split_of(ground_name(path)) == split
        ]
        cache.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(Material(seen, drawn, scenery, patterns), protocol=5))
        partial.replace(file)
    return pickle.loads(file.read_bytes())  # type: ignore[no-any-return]


def ground_name(path: Path) -> str:
    """Return what a ground is split by: a wallpaper in several sizes, or a panorama in several pieces, is one."""
    if path.parent.name == "images":  # NAME/contents/images/WIDTHxHEIGHT.jpg
        return path.parts[-4]
    return path.parent.name if path.parent.parent.name == "landscapes" else path.name


def read(path: Path, *, may_be_photo: bool) -> CutOut | None:
    """Return the cut-out in a file, or None if it holds none that a scene can use."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        return None
    solid = image[..., 3] > 127
    if solid.sum() < 400:
        return None
    x, y, width, height = cv2.boundingRect(solid.astype(np.uint8))
    image, solid = image[y : y + height, x : x + width], solid[y : y + height, x : x + width]
    if max(height / width, width / height) > _MAX_ASPECT or solid.mean() > _MAX_FILL:
        return None
    image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    photo = may_be_photo and _is_photo(image, solid)
    rgba = _shrink(image, PHOTO_SIDE if photo else DRAWING_SIDE)
    if cv2.connectedComponents((rgba[..., 3] > 127).astype(np.uint8))[0] > 4:
        return None
    return CutOut(rgba, None if photo else find_parts(rgba))


def find_parts(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the largest connected regions of similar colour, [H,W,4] → [H,W], numbered from 1 by size."""
    height, width = rgba.shape[:2]
    small = _shrink(rgba, 144)
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


def _pictures(places: Sequence[Path]) -> list[Path]:
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return [file for file in files if file.suffix.lower() in {".png", ".webp", ".jpg"}]


def _is_unwanted(path: Path) -> bool:
    """Return whether there are many like it, emoji in five skin tones or one of 1,400 stars, or it is a poster."""
    if path.stat().st_size > _LARGEST_FILE:
        return True
    if any(tone in path.stem for tone in ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")):
        return True
    return path.parent.name == "stars" and hashlib.sha256(path.name.encode()).digest()[1] > 32


def _is_photo(rgba: NDArray[np.uint8], solid: NDArray[np.bool_]) -> bool:
    red, green, blue = (rgba[solid][:, i].astype(np.int64) >> 3 for i in range(3))
    if len(np.unique(red << 10 | green << 5 | blue)) <= _PHOTO_COLOURS:
        return False
    neighbours = solid[:, 1:] & solid[:, :-1]
    equal = (rgba[:, 1:, :3] == rgba[:, :-1, :3]).all(2) & neighbours
    return bool(equal.sum() < _PHOTO_FLATNESS * neighbours.sum())


def _shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image)
    size = (max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


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
