"""The model that ships understands a click, and a search for everything: seeded weights would find nothing."""

import json
import shutil
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import skimage.data
from pycocotools import mask as coco
from segment_anything import SamAutomaticMaskGenerator

from export.checkpoint import load
from tests.support.reference import iou
from tests.support.service import Service
from tests.support.service_client import ServiceClient

pytestmark = pytest.mark.triton

SIDE = 640


def disc(size):
    return [(np.cos(a) * size, np.sin(a) * size) for a in np.linspace(0, 2 * np.pi, 90)]


def square(size):
    return [(-size, -size), (size, -size), (size, size), (-size, size)]


def star(size):
    radii = [size, 0.45 * size] * 5
    return [(r * np.sin(a), -r * np.cos(a)) for r, a in zip(radii, np.linspace(0, 2 * np.pi, 11), strict=False)]


def drawn(outline, rng, *, textured):
    """Return a picture with a shape of one colour, the shape's mask, and its middle."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = rng.uniform(20, 235, 3)
    if textured:
        cells = rng.uniform(-35, 35, (SIDE // 20, SIDE // 20, 1)).astype(np.float32)
        picture += cv2.resize(cells, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[..., None]
    size = rng.uniform(70, 180)
    middle = rng.uniform(200, SIDE - 200, 2)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [np.rint(np.array(outline(size)) + middle).astype(np.int32)], 1)
    colour = picture.mean((0, 1))
    while np.abs(colour - picture.mean((0, 1))).sum() < 150:
        colour = rng.uniform(0, 255, 3)
    picture[mask > 0] = colour
    return np.clip(picture, 0, 255).astype(np.uint8), mask > 0, tuple(middle)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A service on the version 1 that the project ships."""
    folder = tmp_path_factory.mktemp("shipped")
    source = Path(__file__).parents[2] / "model_repository"
    for model in ("sam_encoder", "sam_decoder"):
        shutil.copytree(source / model / "1", folder / "repository" / model / "1")
        shutil.copy(source / model / "config.pbtxt", folder / "repository" / model)
    service = Service(folder / "repository", folder / "store", folder / "log").wait_until_ready()
    yield ServiceClient(service.url)
    service.stop()


def test_a_click_on_a_drawn_shape_returns_that_shape(shipped):
    rng = np.random.default_rng(0)
    found = {}
    for outline in (disc, square, star):
        for textured in (False, True):
            for repeat in range(2):
                picture, shape, middle = drawn(outline, rng, textured=textured)
                masks, _ = shipped.masks(shipped.upload(picture), points=[middle], labels=[1])
                found[outline.__name__, textured, repeat] = max(iou(mask, shape) for mask in masks)
    assert np.mean(list(found.values())) >= 0.85, found


def test_a_box_around_a_drawn_shape_returns_that_shape(shipped):
    rng = np.random.default_rng(1)
    found = []
    for outline in (disc, square, star):
        picture, shape, _ = drawn(outline, rng, textured=True)
        ys, xs = np.nonzero(shape)
        masks, _ = shipped.masks(shipped.upload(picture), box=[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        found.append(max(iou(mask, shape) for mask in masks))
    assert np.mean(found) >= 0.85, found


@pytest.mark.parametrize(
    "name",
    ["chelsea", pytest.param("astronaut", marks=pytest.mark.heavy), pytest.param("coffee", marks=pytest.mark.heavy)],
)
def test_a_search_finds_what_sams_own_generator_finds(shipped, name):
    photo = getattr(skimage.data, name)()
    checkpoint = Path(__file__).parents[2] / "models" / "quickstart" / "quickstart.pth"
    # The small model is sure of little.
    generator = SamAutomaticMaskGenerator(
        load(checkpoint).sam.eval(), points_per_side=4, pred_iou_thresh=0.2, stability_score_thresh=0.2
    )
    expected = [one["segmentation"] for one in generator.generate(photo)]
    answer = httpx.post(
        f"{shipped.url}/api/images/{shipped.upload(photo)}/everything",
        json={"grid": 4, "min_score": 0.2, "min_stability": 0.2},
        timeout=120,
    )
    runs = [line["object"]["rle"] for line in map(json.loads, answer.text.splitlines()) if "object" in line]
    found = [coco.decode({**rle, "counts": rle["counts"].encode()}) > 0 for rle in runs]
    matched = [max((iou(one, other) for other in found), default=0) >= 0.95 for one in expected]
    assert len(expected) >= 5, "there was next to nothing to find"
    assert np.mean(matched) >= 0.95
    assert abs(len(found) - len(expected)) <= 0.05 * len(expected)
