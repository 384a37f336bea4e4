from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from export import checkpoint
from export.networks.sam import QUICKSTART, build
from models.quickstart.optimizers import optimizers_of
from models.quickstart.saving import resume, suspend, write_checkpoint


def test_an_interrupted_run_goes_on_with_the_same_weights_and_moments(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sam = build(QUICKSTART)
    average, optimizers = AveragedModel(sam), optimizers_of(sam)
    for weight in sam.mask_decoder.parameters():
        weight.grad = torch.ones_like(weight)
    for optimizer in optimizers:
        optimizer.step()
    suspend(tmp_path / "run.state", sam, average, optimizers, 7, 0.25)

    other = build(QUICKSTART)
    other_average, other_optimizers = AveragedModel(other), optimizers_of(other)
    assert resume(tmp_path / "run.state", other, other_average, other_optimizers) == (7, 0.25)
    for name, tensor in sam.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0)
    muon, adamw = (list(optimizer.state_dict()["state"].values()) for optimizer in other_optimizers)
    assert all(moments["momentum_buffer"].count_nonzero() for moments in muon)
    assert all(moments["exp_avg"].count_nonzero() for moments in adamw)
    assert len(muon) + len(adamw) == len(list(sam.mask_decoder.parameters()))


def test_a_run_without_a_past_starts_at_its_beginning(tmp_path: Path) -> None:
    sam = build(QUICKSTART)
    assert resume(tmp_path / "none.state", sam, AveragedModel(sam), optimizers_of(sam)) == (0, 0)


def test_what_training_writes_is_a_checkpoint_that_exports(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sam = build(QUICKSTART)
    write_checkpoint(sam, tmp_path / "model.pth")
    loaded = checkpoint.load(tmp_path / "model.pth")
    assert str(loaded.architecture) == "quickstart"
    for name, tensor in sam.state_dict().items():
        torch.testing.assert_close(loaded.sam.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]
