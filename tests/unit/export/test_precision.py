"""Exports of less than full precision, as the command line makes them."""

import pytest
from typer.testing import CliRunner

import export.pipeline
from imgr.cli import app
from imgr.repository.versions import list_versions


@pytest.fixture
def pictures(tmp_path, photo_jpeg):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(photo_jpeg)
    return folder


@pytest.fixture
def run(small_checkpoint, tmp_path, pictures):
    repository = tmp_path / "repository"

    def export(*options):
        arguments = [f"--checkpoint={small_checkpoint}", f"--model-repository={repository}", f"--pictures={pictures}"]
        return CliRunner().invoke(app, ["export", *arguments, *options]), repository

    return export


def test_a_loss_of_precision_is_shown_and_refused(run, monkeypatch):
    monkeypatch.setitem(export.pipeline.LEAST_MEAN_IOU, "int8", 1.1)
    refused, repository = run("--precision=int8")
    assert refused.exit_code == 1
    assert "Masks in int8 agree with those of full precision to a mean IoU of 0." in refused.output
    for row in ("int8 against fp32, pictures: 1", "one point", "three points", "a box", "all"):
        assert row in refused.output
    assert list_versions(repository) == []
    assert [path.name for path in repository.parent.iterdir() if "staging" in path.name] == []


@pytest.mark.heavy
def test_force_publishes_what_would_be_refused(run, monkeypatch):
    monkeypatch.setitem(export.pipeline.LEAST_MEAN_IOU, "int8", 1.1)
    forced, repository = run("--precision=int8", "--force")
    assert forced.exit_code == 0, forced.output
    (version,) = list_versions(repository)
    assert (version.precision, version.problem) == ("int8", None)
    assert version.identity.startswith("vit_64x4/int8/")


@pytest.mark.heavy
def test_half_precision_is_published_for_both_models(run):
    result, repository = run("--precision=fp16")
    assert result.exit_code == 0, result.output
    (version,) = list_versions(repository)
    assert (version.precision, version.problem) == ("fp16", None)
    assert version.bytes < 12e6
    assert [path.name for path in (repository / "sam_encoder" / "1").iterdir()] == ["model.onnx"]
