from types import SimpleNamespace

import pytest
import torch

from models.quickstart import samples
from models.quickstart.prompts import FOREGROUND
from models.quickstart.samples import Samples
from models.quickstart.scenes import Material


def test_workers_compose_different_scenes(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    images = []
    for number in range(2):
        monkeypatch.setattr(samples, "get_worker_info", lambda number=number: SimpleNamespace(id=number))
        images.append(next(iter(Samples(material, 64, 1, seed=[0]))).images)
    assert not torch.equal(*images)


def test_a_batch_on_a_device_has_shares_and_distances_from_zero_to_one(material: Material) -> None:
    batch = next(iter(Samples(material, 64, 8, seed=[0]))).on("cpu")
    for part in (batch.answers, batch.distance):
        assert part.dtype == torch.float32
        assert part.min() == 0
        assert part.max() == 1
    clicked = (batch.labels[:, 0] == FOREGROUND).nonzero().ravel()
    x, y = (batch.coords[clicked, 0] / 4).long().unbind(1)
    assert len(clicked)
    assert not batch.distance[clicked, y, x].any()
