from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from export import checkpoint
from export.sam import VIT_T, build
from models.quickstart.train import _resume, _suspend, write_checkpoint


def test_an_interrupted_stage_goes_on_with_the_same_weights_and_moments(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sam = build(VIT_T)
    average, optimizer = AveragedModel(sam), torch.optim.AdamW(sam.parameters())
    sam.mask_decoder.iou_token.weight.grad = torch.ones(1, 256)
    optimizer.step()
    _suspend(tmp_path / "stage.state", sam, average, optimizer, 7)

    other = build(VIT_T)
    other_average, other_optimizer = AveragedModel(other), torch.optim.AdamW(other.parameters())
    assert _resume(tmp_path / "stage.state", other, other_average, other_optimizer) == 7
    for name, tensor in sam.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0)
    (moments,) = other_optimizer.state_dict()["state"].values()
    assert moments["exp_avg"].count_nonzero() == 256


def test_a_stage_without_a_past_starts_at_its_beginning(tmp_path: Path) -> None:
    sam = build(VIT_T)
    assert _resume(tmp_path / "none.state", sam, AveragedModel(sam), torch.optim.AdamW(sam.parameters())) == 0


def test_what_training_writes_is_a_checkpoint_that_exports(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sam = build(VIT_T)
    write_checkpoint(sam, tmp_path / "vit_t.pth")
    loaded = checkpoint.load(tmp_path / "vit_t.pth")
    assert str(loaded.architecture) == "vit_t"
    for name, tensor in sam.state_dict().items():
        torch.testing.assert_close(loaded.sam.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["vit_t.pth"]
