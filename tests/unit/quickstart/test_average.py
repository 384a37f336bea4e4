from pathlib import Path

import torch

from export.networks.sam import VIT_T, build
from models.quickstart.average import average
from models.quickstart.saving import write_checkpoint


def test_an_average_has_the_mean_of_all_weights(tmp_path: Path) -> None:
    for seed in (0, 1):
        torch.manual_seed(seed)
        write_checkpoint(build(VIT_T), tmp_path / f"{seed}.pth")
    average(tmp_path / "0.pth", tmp_path / "1.pth", tmp_path / "mean.pth")
    first, second, mean = (torch.load(tmp_path / f"{name}.pth", weights_only=True) for name in ("0", "1", "mean"))
    assert mean.keys() == first.keys()
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor.double(), (first[name].double() + second[name]) / 2, rtol=1e-3, atol=1e-6)
    assert any(not torch.equal(first[name], second[name]) for name in mean)
