import subprocess
import sys

import pytest
from typer.testing import CliRunner

from export import Publication
from imgr.cli import app
from tests.unit.imgr.test_repository import publish


def run(*arguments, **environment):
    return CliRunner().invoke(app, arguments, env=environment)


def test_a_failure_is_one_sentence_and_status_1(tmp_path):
    result = run("models", "--model-repository", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"imgr: {tmp_path} is no model repository")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_setting_out_of_order_is_named(tmp_path):
    result = run("models", IMGR_MAX_POINTS="many")
    assert result.exit_code == 1
    assert result.stderr.startswith("imgr: IMGR_MAX_POINTS: ")


def test_models_are_listed_from_the_repository_that_the_environment_names(tmp_path):
    publish(tmp_path, 3)
    result = run("models", IMGR_MODEL_REPOSITORY=str(tmp_path))
    assert result.exit_code == 0
    assert "vit_b/fp32/0123456789abcdef" in result.stdout
    assert "2026-05-04 03:02" in result.stdout


def test_an_export_beside_a_broken_version_tells_that_it_would_not_be_served(tmp_path, monkeypatch):
    for number in (1, 2, 3):
        publish(tmp_path / "models", number)
    (tmp_path / "models" / "sam_decoder" / "2" / "model.onnx").unlink()
    monkeypatch.setattr("imgr.exporting.export_with_progress", lambda *_, **__: Publication(3, "vit_b/fp32/0"))
    result = run("export", "--checkpoint", "sam.pth", "--model-repository", str(tmp_path / "models"))
    assert "Version 2 can't be served (sam_decoder has no readable model.onnx)" in result.stdout
    assert "`imgr prune --keep 2` deletes it" in result.stdout
    run("prune", "--keep", "2", "--model-repository", str(tmp_path / "models"))
    assert run("export", "--checkpoint", "sam.pth", "--model-repository", str(tmp_path / "models")).stdout == ""


def test_a_rollback_and_its_undo_tell_what_they_did(tmp_path):
    for number in (1, 2):
        publish(tmp_path / "models", number)
    arguments = ("rollback", "--model-repository", str(tmp_path / "models"))
    back = run(*arguments)
    assert back.exit_code == 0
    assert "Withdrawn: version 2. Newest now: version 1, vit_b/fp32/0123456789abcdef." in back.stdout
    assert "`imgr rollback --undo` takes this back." in back.stdout
    assert run(*arguments, "--undo").stdout == "Version 2, vit_b/fp32/0123456789abcdef, is back.\n"


def test_pruning_tells_what_is_gone(tmp_path):
    for number in (1, 2, 3):
        publish(tmp_path / "models", number)
    repository = ("--model-repository", str(tmp_path / "models"))
    run("rollback", *repository)
    result = run("prune", "--keep", "1", *repository)
    assert result.stdout == "Deleted old: version 1.\nDeleted withdrawn: version 3.\n0 MB freed.\n"
    assert run("prune", "--keep", "0", *repository).exit_code == 2


@pytest.mark.parametrize("command", [["models"], ["rollback"], ["prune", "--keep=1"]])
def test_a_triton_that_does_not_answer_is_told(tmp_path, command):
    for number in (1, 2):
        publish(tmp_path / "models", number)
    result = run(*command, "--model-repository", str(tmp_path / "models"), IMGR_TRITON_URL="127.0.0.1:9")
    assert result.exit_code == 1
    assert "imgr: the Triton that IMGR_TRITON_URL names, 127.0.0.1:9, does not answer" in result.stderr


def test_a_checkpoint_that_is_not_there_cannot_be_served(tmp_path):
    publish(tmp_path, 1)
    missing = str(tmp_path / "none.pth")
    result = run("serve", "--port", "0", "--model-repository", str(tmp_path), SAM_CHECKPOINT_PATH=missing)
    assert result.exit_code == 1
    assert f"there is no checkpoint at {missing}" in result.stderr


def test_only_the_export_needs_pytorch():
    script = (
        "import sys; sys.modules.update(torch=None, torchvision=None, segment_anything=None); "
        "import imgr.cli, imgr.serve, imgr.repository, imgr.doctor, imgr.download, imgr.exporting, "
        "frontend_api.application"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_an_export_without_pytorch_names_what_is_missing_and_the_command_that_brings_it(tmp_path):
    (tmp_path / "sam.pth").write_bytes(b"weights")
    script = (
        "import sys; sys.modules.update(torch=None, segment_anything=None); "
        f"sys.argv = ['imgr', 'export', '--checkpoint', {str(tmp_path / 'sam.pth')!r}, "
        f"'--model-repository', {str(tmp_path / 'models')!r}]; "
        "import imgr.cli; imgr.cli.app()"
    )
    result = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert "uv run --extra export imgr" in result.stderr
    assert "Traceback" not in result.stderr
