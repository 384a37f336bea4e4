from pathlib import Path

import torch

from export import checkpoint
from export.networks.sam import QUICKSTART, build
from models.quickstart.samples import Samples
from models.quickstart.saving import write_checkpoint
from models.quickstart.train import Training, imitate, learn, network_of


def test_training_moves_what_is_not_frozen_and_leaves_what_goes_on(scenes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    init, out = tmp_path / "before.pth", tmp_path / "out.pth"
    write_checkpoint(build(QUICKSTART), init)
    options = {"minutes": 1e-4, "rate": 1e-3, "size": 128, "batch": 1, "prompts": 2, "processes": 1, "seed": 0}
    learn(0, Training(scenes=scenes, init=init, out=out, imagenet=None, **options), tmp_path / "meeting")
    before, after = (checkpoint.load(path).sam.state_dict() for path in (init, out))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in changed} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    assert not [name for name in changed if "backbone.stem" in name or "backbone.stages.0" in name]
    assert (tmp_path / "out.state").exists()


def test_an_encoder_that_embeds_as_its_teacher_has_nothing_to_learn(scenes: Path, tmp_path: Path) -> None:
    write_checkpoint(build(QUICKSTART), tmp_path / "init.pth")
    sam = network_of(tmp_path / "init.pth", None)
    batch = next(iter(Samples(scenes, 64, 1, seed=[0])))
    assert imitate(sam, sam.image_encoder, batch).item() == 0
    other = build(QUICKSTART).image_encoder
    assert imitate(sam, other, batch).item() > 0.1
