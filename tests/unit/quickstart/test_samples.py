from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.quickstart import pack, samples
from models.quickstart.cutouts import Material
from models.quickstart.prompts import FOREGROUND
from models.quickstart.samples import Samples, augmented
from models.quickstart.scenes import compose


def test_workers_read_different_scenes(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = []
    for number in range(2):
        monkeypatch.setattr(samples, "get_worker_info", lambda number=number: SimpleNamespace(id=number))
        images.append(next(iter(Samples(scenes, 64, 1, seed=[0]))).images)
    assert not torch.equal(*images)


def test_a_batch_that_is_read_has_shares_and_distances_from_zero_to_one(scenes: Path) -> None:
    batch = next(iter(Samples(scenes, 64, 8, seed=[1]))).read()
    for part in (batch.answers, batch.distance):
        assert part.dtype == torch.float32
        assert part.min() == 0
        assert part.max() == 1
    clicked = (batch.labels[:, 0] == FOREGROUND).nonzero().ravel()
    x, y = (batch.coords[clicked, 0] / 4).long().unbind(1)
    assert len(clicked)
    assert not batch.distance[clicked, y, x].any()


def test_a_packed_scene_keeps_its_masks(material: Material, tmp_path: Path) -> None:
    scene = compose(128, np.random.default_rng(0), material)
    pack.write(scene, tmp_path / "scene.npz")
    read = pack.read(tmp_path / "scene.npz")
    np.testing.assert_array_equal(read.levels, scene.levels)
    assert np.abs(read.image.astype(int) - scene.image).mean() < 8
    assert [path.name for path in tmp_path.iterdir()] == ["scene.npz"]


@pytest.mark.parametrize("seed", range(6))
def test_masks_follow_the_picture_through_augmentation(seed: int) -> None:
    levels = np.zeros((3, 120, 160), np.uint8)
    levels[:, 30:90, 40:130] = 1
    scene = samples.Scene(np.where(levels[0, ..., None], np.uint8(230), np.uint8(10)).repeat(3, 2), levels)
    changed = augmented(scene, 128, np.random.default_rng(seed))
    assert max(changed.image.shape[:2]) == 128
    assert changed.levels.shape == (3, *changed.image.shape[:2])
    assert ((changed.image.mean(2) > 90) != (changed.levels[0] > 0)).mean() < 0.03
