from pathlib import Path

import cv2
import numpy as np
import pytest

from models.quickstart.sprites import load, read, split_of


def test_a_file_is_in_the_same_split_in_every_process() -> None:
    # Fixed by hand: a change of the rule would let held-out files into training.
    assert split_of("apple.png") == "train"
    assert split_of("file_5.png") == "held_out"


def test_about_a_tenth_of_the_files_is_held_out() -> None:
    held_out = sum(split_of(f"file_{i}.png") == "held_out" for i in range(2000))
    assert 0.07 < held_out / 2000 < 0.13


def test_no_file_is_in_both_splits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(40):
        picture = np.zeros((60, 60, 4), np.uint8)
        cv2.circle(picture, (30, 30), 25, (*rng.integers(0, 256, 3).tolist(), 255), -1)
        cv2.imwrite(str(tmp_path / f"file_{i}.png"), picture)
    colours = {
        split: {tuple(sprite.rgba[sprite.rgba.shape[0] // 2, sprite.rgba.shape[1] // 2]) for sprite in sprites}
        for split in ("train", "held_out")
        for sprites, _ in [load(tmp_path, tmp_path / "cache", split)]
    }
    assert colours["train"]
    assert colours["held_out"]
    assert len(colours["train"] | colours["held_out"]) == 40
    assert not colours["train"] & colours["held_out"]


def test_regions_of_one_colour_are_parts(material) -> None:
    sprite = material.sprites[0]
    inside = sprite.parts[90 * sprite.parts.shape[0] // 200, 80 * sprite.parts.shape[1] // 160]
    around = sprite.parts[30 * sprite.parts.shape[0] // 200, 80 * sprite.parts.shape[1] // 160]
    assert inside > 0
    assert inside != around
    assert not sprite.parts[sprite.rgba[..., 3] == 0].any()


@pytest.mark.parametrize("shape", [(50, 50), (50, 50, 3), (50, 50, 4)], ids=["grey", "no alpha", "fully opaque"])
def test_what_is_no_cut_out_is_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "picture.png"), np.full(shape, 255, np.uint8))
    assert read(tmp_path / "picture.png") is None
