import pickle
import subprocess
import sys
from pathlib import Path

import torch

from export import checkpoint
from export.networks.sam import VIT_T, build
from models.quickstart.saving import write_checkpoint
from models.quickstart.scenes import Material


def test_a_stage_moves_weights_but_no_frozen_statistics(material: Material, tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_checkpoint(build(VIT_T), tmp_path / "before.pth")
    (tmp_path / "train.pickle").write_bytes(pickle.dumps((material.sprites, material.patterns)))
    options = {"clipart": tmp_path, "cache": tmp_path, "init": tmp_path / "before.pth", "out": tmp_path / "out.pth"}
    options |= {"size": 64, "minutes": 0.1, "batch": 2, "prompts": 2}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "models.quickstart.train", "--freeze-statistics", *arguments]
    subprocess.run(command, check=True, timeout=100)
    before, after = (checkpoint.load(tmp_path / name).sam.state_dict() for name in ("before.pth", "out.pth"))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in changed} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    assert not [name for name in changed if "running_" in name]
    assert not list(tmp_path.glob("*.state"))
