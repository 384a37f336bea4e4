import subprocess
import sys

import pytest
from typer.testing import CliRunner

from imgr.cli import app
from imgr.errors import RepositoryError
from imgr.repository.publication import Publication
from imgr.repository.versions import list_versions
from tests.unit.imgr.repository.test_versions import publish


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
    (tmp_path / "sam.pth").touch()
    result = run("export", "--checkpoint", str(tmp_path / "sam.pth"), "--model-repository", str(tmp_path / "models"))
    assert "Version 2 can't be served (sam_decoder has no readable model.onnx)" in result.stdout
    assert "`imgr prune --keep 2` deletes it" in result.stdout
    run("prune", "--keep", "2", "--force", "--model-repository", str(tmp_path / "models"))
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
    result = run("prune", "--keep", "1", "--force", *repository)
    assert result.stdout == "Deleted old: version 1.\nDeleted withdrawn: version 3.\n0 MB freed.\n"
    assert run("prune", "--keep", "0", *repository).exit_code == 2


def test_what_a_clone_ships_is_not_pruned_without_being_named(tmp_path):
    for number in (1, 2, 3):
        publish(tmp_path / "models", number)
    for command in (["init", "--quiet"], ["add", "models/sam_encoder/1", "models/sam_decoder/1"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    arguments = ("prune", "--keep", "1", "--force", "--model-repository", str(tmp_path / "models"))
    kept = "Kept: version 1, which this clone ships; --shipped deletes it too.\n"
    assert run(*arguments).stdout == f"Deleted old: version 2.\n{kept}0 MB freed.\n"
    gone = "Version 1 was one that this clone ships; `git restore` brings its files back.\n"
    assert run(*arguments, "--shipped").stdout == f"Deleted old: version 1.\n{gone}0 MB freed.\n"


def test_nothing_is_pruned_while_nobody_says_what_is_served(tmp_path):
    for number in (1, 2):
        publish(tmp_path / "models", number)
    result = run("prune", "--keep", "1", "--model-repository", str(tmp_path / "models"))
    assert result.exit_code == 1
    assert "name it in IMGR_TRITON_URL, or, if there is none, say --force" in result.stderr
    assert len(list_versions(tmp_path / "models")) == 2


@pytest.mark.parametrize(("served", "left"), [({1}, [3, 1]), (None, [3])], ids=["served", "silent"])
def test_even_by_force_what_is_known_to_be_served_stays(tmp_path, monkeypatch, served, left):
    def served_versions(_):
        if served is None:
            raise RepositoryError("Triton does not answer")
        return served

    monkeypatch.setattr("imgr.triton.control.served_versions", served_versions)
    for number in (1, 2, 3):
        publish(tmp_path / "models", number)
    result = run("prune", "--keep", "1", "--force", "--model-repository", str(tmp_path / "models"))
    assert result.exit_code == 0
    assert [version.number for version in list_versions(tmp_path / "models")] == left


def test_models_are_listed_while_triton_does_not_answer(tmp_path):
    publish(tmp_path, 3)
    result = run("models", IMGR_MODEL_REPOSITORY=str(tmp_path), IMGR_TRITON_URL="127.0.0.1:9")
    assert result.exit_code == 0
    assert "vit_b/fp32/0123456789abcdef" in result.stdout
    assert result.stderr.startswith("imgr: which version is served is not known: the Triton that IMGR_TRITON_URL names")


def test_every_triton_is_told_of_a_version_though_another_does_not_answer(tmp_path, monkeypatch):
    told = []

    def reload(url, version):
        told.append((url, version))
        if url == "127.0.0.1:1":
            raise RepositoryError("Triton at 127.0.0.1:1 does not answer")

    monkeypatch.setattr("imgr.triton.control.reload", reload)
    publish(tmp_path, 3)
    result = run("reload", IMGR_MODEL_REPOSITORY=str(tmp_path), IMGR_TRITON_URL="127.0.0.1:1,127.0.0.1:2")
    assert told == [("127.0.0.1:1", 3), ("127.0.0.1:2", 3)]
    assert result.exit_code == 1
    assert result.stderr == (
        "imgr: Triton at 127.0.0.1:1 does not answer; when that is mended, `imgr reload` tells them again\n"
    )


def test_without_an_external_triton_there_is_none_to_tell(tmp_path):
    publish(tmp_path, 1)
    result = run("reload", IMGR_MODEL_REPOSITORY=str(tmp_path), IMGR_TRITON_URL=None)
    assert result.exit_code == 1
    assert "IMGR_TRITON_URL names no Triton" in result.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001", "127.0.0.1", "triton:http", "a:1,", ":8000"])
def test_a_triton_that_is_no_host_and_port_is_named(url):
    result = run("models", IMGR_TRITON_URL=url)
    assert result.exit_code == 1
    assert result.stderr.startswith("imgr: IMGR_TRITON_URL: Value error, expected host:port without a scheme")


@pytest.mark.parametrize(
    "store",
    [
        "/srv/imgr",
        "ftp://host/path",
        "s3:/bucket",
        "https://host/path",
        "file:data/store",
        "FILE:///data",
        "file://host/x",
    ],
)
def test_a_store_that_is_no_url_of_one_is_named(store):
    result = run("models", IMGR_STORE=store)
    assert result.exit_code == 1
    assert result.stderr == (
        f"imgr: IMGR_STORE: Value error, expected a URL such as file:///srv/imgr or s3://bucket/prefix, got {store!r}\n"
    )


@pytest.mark.parametrize("store", ["file:///dev/null/store", "az://container/without/account"])
def test_a_store_that_cannot_be_used_ends_serving_before_it_began(tmp_path, store):
    publish(tmp_path, 1)
    result = run("serve", "--port", "0", "--model-repository", str(tmp_path), IMGR_STORE=store)
    assert result.exit_code == 1
    assert store in result.stderr


def test_a_port_beyond_the_last_is_refused():
    assert run("serve", "--port", "65536").exit_code == 2


@pytest.mark.parametrize("command", [["rollback"], ["prune", "--keep=1"]])
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


def test_a_checkpoint_that_is_not_there_is_told_before_anything_slow_is_loaded(tmp_path):
    script = (
        "import sys; sys.modules.update(torch=None, onnx=None, cv2=None, numpy=None); "
        f"sys.argv = ['imgr', 'export', '--checkpoint', {str(tmp_path / 'nope.pth')!r}]; "
        "import imgr.cli; imgr.cli.app()"
    )
    result = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert (
        result.stderr == f"imgr: there is no checkpoint at {tmp_path / 'nope.pth'}; `imgr download vit_b` fetches one\n"
    )


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
