import os
import pickle
import random

import pytest
import torch

from export.checkpoint import load, recognise
from export.errors import UnusableCheckpoint
from export.networks.sam import QUICKSTART, VIT_B, VIT_H, VIT_L, VIT_T, build
from models.seeded import SMALL, random_sam, write_checkpoint


@pytest.fixture(scope="module")
def state():
    return random_sam(SMALL).state_dict()


@pytest.fixture
def save(tmp_path):
    def save(state, name="checkpoint.pth"):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        (VIT_B, "vit_b"),
        (VIT_L, "vit_l"),
        (VIT_H, "vit_h"),
        (VIT_T, "vit_t"),
        (QUICKSTART, "quickstart"),
        (SMALL, "vit_64x4"),
    ],
)
def test_an_architecture_is_recognised_from_its_tensors(architecture, name, tmp_path):
    with torch.device("meta"):
        tensors = build(architecture).state_dict()
    recognised = recognise(tensors, tmp_path)
    assert recognised == architecture
    assert str(recognised) == name


def test_a_misleading_file_name_changes_nothing(state, save):
    checkpoint = load(save(state, "sam_vit_h_4b8939.pth"))
    assert str(checkpoint.architecture) == "vit_64x4"


def test_half_precision_weights_are_computed_in_single_precision(state, save):
    checkpoint = load(save({name: tensor.half() for name, tensor in state.items()}))
    for name, tensor in checkpoint.sam.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].half().float())


def test_the_classifier_in_mobilesams_file_is_ignored(save):
    state = random_sam(VIT_T).state_dict()
    classifier = {
        "image_encoder.norm_head.weight": torch.ones(320),
        "image_encoder.norm_head.bias": torch.ones(320),
        "image_encoder.head.weight": torch.ones(1000, 320),
        "image_encoder.head.bias": torch.ones(1000),
    }
    assert str(load(save(state | classifier)).architecture) == "vit_t"


def test_the_identity_is_the_same_for_the_same_weights_wherever_and_in_whatever_order_they_are_kept(state, save):
    one = load(save(state, "one.pth"))
    other = load(save(dict(reversed(state.items())), "other.pth"))
    assert one.identity("fp32") == other.identity("fp32")
    variant, precision, digest = one.identity("fp32").split("/")
    assert (variant, precision, len(digest)) == ("vit_64x4", "fp32", 16)
    int(digest, 16)


def test_the_identity_changes_with_a_single_weight(state, save):
    name = "mask_decoder.iou_token.weight"
    changed = state[name].clone()
    changed[0, 0] += 1e-6
    one, other = load(save(state, "one.pth")), load(save(state | {name: changed}, "other.pth"))
    assert one.identity("fp32") != other.identity("fp32")


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


QKV = "image_encoder.blocks.1.attn.qkv.weight"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: [state], "no plain state dict of tensors"),
        (lambda state: {}, "no plain state dict of tensors"),
        (lambda state: {"model": state}, "no plain state dict of tensors"),
        (lambda state: {"fc.weight": torch.zeros(3, 3)}, "no SAM checkpoint: it has no mask decoder"),
        (lambda state: without(state, "image_encoder.patch_embed.proj.weight"), "unknown architecture"),
        (lambda state: {k: v for k, v in state.items() if "rel_pos" not in k}, "unknown architecture"),
        (lambda state: without(state, QKV), f"but lacks {QKV}; its architecture is unknown"),
        (lambda state: state | {QKV: torch.zeros(3, 3)}, r"in shape \(3, 3\) instead of \(192, 64\)"),
        (lambda state: state | {"extra": torch.zeros(1)}, "but has an unknown extra"),
        (lambda state: state | {QKV: state[QKV] * float("nan")}, f"damaged: {QKV} holds values that are not finite"),
    ],
)
def test_tensors_that_are_no_sam_are_refused(state, save, change, complaint):
    path = save(change(state))
    with pytest.raises(UnusableCheckpoint, match=complaint) as refusal:
        load(path)
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UnusableCheckpoint, match="There is no file"):
        load(tmp_path / "absent.pth")


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(UnusableCheckpoint, match="is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(UnusableCheckpoint, match="truncated or no PyTorch checkpoint"):
        load(path)


def test_noise_is_refused(tmp_path):
    for seed in range(200):  # PyTorch's unpickler fails on it in many ways
        path = tmp_path / f"{seed}.pth"
        path.write_bytes(random.Random(seed).randbytes(1000))
        with pytest.raises(UnusableCheckpoint, match="truncated or no PyTorch checkpoint"):
            load(path)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path, fraction):
    path = write_checkpoint(tmp_path / "checkpoint.pth")
    os.truncate(path, int(path.stat().st_size * fraction))
    with pytest.raises(UnusableCheckpoint, match="truncated"):
        load(path)


class Malice:
    def __reduce__(self):
        return (os.system, ("touch executed",))


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pth"
    write({"weight": Malice()}, path)
    with pytest.raises(UnusableCheckpoint):
        load(path)
    assert not (tmp_path / "executed").exists()
