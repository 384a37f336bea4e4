import onnx
import pytest
from onnx import numpy_helper

from export.comparison import Pair, compare
from export.errors import UnusablePictures
from export.examples import MOST, drawn, frames


@pytest.fixture(scope="module")
def pair(exported):
    return Pair(exported.graph("sam_encoder"), exported.graph("sam_decoder"))


@pytest.fixture
def folder(tmp_path, photo_jpeg):
    (tmp_path / "a.jpg").write_bytes(photo_jpeg)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_pair_agrees_with_itself_wholly(pair, folder):
    comparison = compare(pair, pair, frames(folder))
    assert [row.prompts for row in comparison.rows] == ["one point", "three points", "a box"]
    assert comparison.overall.masks == sum(row.masks for row in comparison.rows) == 60
    assert comparison.pictures == 1
    assert comparison.overall.mean_iou == comparison.overall.low_iou == 1
    assert comparison.overall.score_error == comparison.embedding_error == 0


@pytest.mark.parametrize("factor", [0.8, pytest.param(float("nan"), marks=pytest.mark.heavy)])
def test_another_encoder_gives_other_masks_and_values_that_are_no_numbers_agree_with_nothing(
    pair, folder, tmp_path, factor
):
    model = onnx.load(pair.encoder)
    weights = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [256, 256, 3, 3])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[::-1] * factor, weights.name))
    onnx.save(model, tmp_path / "other.onnx")
    mean = compare(pair, Pair(tmp_path / "other.onnx", pair.decoder), frames(folder)).overall.mean_iou
    assert mean < 0.95
    assert (mean == 0) == (factor != 0.8)


def test_photos_come_upright_and_within_the_frame(folder):
    ((image, size),) = frames(folder)
    assert image.shape == (1, 1024, 1024, 3)
    assert size.tolist() == [[683, 1024]]
    assert image[0, :683].any()
    assert not image[0, 683:].any()


def test_no_more_photos_are_taken_than_tell_something(folder, photo_jpeg):
    for number in range(MOST + 2):
        (folder / f"{number}.jpg").write_bytes(photo_jpeg)
    assert len(frames(folder)) == MOST


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UnusablePictures, match="holds no picture"):
        frames(tmp_path)
    with pytest.raises(UnusablePictures, match="cannot be read: No such file or directory"):
        frames(tmp_path / "none")


def test_drawn_pictures_are_the_same_every_time_and_differ():
    assert (drawn(0) == drawn(0)).all()
    assert drawn(0).std() > 20
    assert drawn(0).shape != drawn(1).shape
