from pathlib import Path

import onnx
import pytest
from structlog.testing import capture_logs

from export import metadata
from imgr.errors import RepositoryError
from imgr.repository import versions
from imgr.repository.versions import list_versions, require_models
from tests.support.tiny_models import write_version


def publish(repository, number, identity="vit_b/fp32/0123456789abcdef", models=("sam_encoder", "sam_decoder")):
    properties = {
        "variant": identity.split("/")[0],
        "precision": identity.split("/")[1],
        "identity": identity,
        "exported_at": "2026-05-04T03:02:01+00:00",
        "checkpoint": "sam.pth",
    }
    for model in models:
        write_version(repository, model, number, metadata=properties)


def test_versions_are_listed_newest_first_with_what_their_graphs_say(tmp_path):
    for number in (2, 10, 1):
        publish(tmp_path, number)
    newest, *others = list_versions(tmp_path)
    assert [version.number for version in (newest, *others)] == [10, 2, 1]
    assert newest.problem is None
    assert (newest.variant, newest.precision) == ("vit_b", "fp32")
    assert newest.identity == "vit_b/fp32/0123456789abcdef"
    assert newest.exported_at == "2026-05-04T03:02:01+00:00"
    assert newest.checkpoint == "sam.pth"
    assert newest.bytes == sum(path.stat().st_size for path in tmp_path.glob("*/10/*"))


def test_a_version_of_one_model_only_is_a_problem(tmp_path):
    publish(tmp_path, 1)
    publish(tmp_path, 2, models=["sam_encoder"])
    assert list_versions(tmp_path)[0].problem == "sam_decoder has no readable model.onnx"


def test_two_halves_of_different_exports_are_a_problem(tmp_path):
    publish(tmp_path, 1, "vit_b/fp32/aaaaaaaaaaaaaaaa", ["sam_encoder"])
    publish(tmp_path, 1, "vit_l/fp32/bbbbbbbbbbbbbbbb", ["sam_decoder"])
    (version,) = list_versions(tmp_path)
    assert (
        version.problem == "the encoder is of vit_b/fp32/aaaaaaaaaaaaaaaa, the decoder of vit_l/fp32/bbbbbbbbbbbbbbbb"
    )


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x08\x3a\xff\xff\xff\x0f"])
def test_a_file_that_is_no_onnx_model_is_a_problem(tmp_path, content):
    publish(tmp_path, 1)
    (tmp_path / "sam_encoder" / "1" / "model.onnx").write_bytes(content)
    assert list_versions(tmp_path)[0].problem is not None


def test_two_files_that_name_no_identity_are_a_problem(tmp_path):
    publish(tmp_path, 1)
    for model in ("sam_encoder", "sam_decoder"):
        (tmp_path / model / "1" / "model.onnx").write_bytes(b"")
    (version,) = list_versions(tmp_path)
    assert version.problem == "the model.onnx of sam_encoder is not one that `imgr export` wrote: it names no identity"


def test_a_graph_with_a_hole_is_a_problem(tmp_path):
    publish(tmp_path, 1)
    path = tmp_path / "sam_encoder" / "1" / "model.onnx"
    graph = onnx.load(path).graph.SerializeToString()
    data = path.read_bytes()
    assert graph in data
    path.write_bytes(data.replace(graph, b"\xff" * len(graph)))
    assert list_versions(tmp_path)[0].problem == "sam_encoder has no readable model.onnx"


def test_weights_beside_the_graph_that_are_missing_or_cut_short_are_a_problem(tmp_path):
    publish(tmp_path, 1)
    graph = tmp_path / "sam_encoder" / "1" / "model.onnx"
    onnx.save(onnx.load(graph), graph, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    weights = graph.with_name("model.onnx.data")
    assert list_versions(tmp_path)[0].problem is None
    weights.write_bytes(weights.read_bytes()[:-1])
    problem = "sam_encoder lacks its weights: model.onnx.data is missing, or not whole"
    assert list_versions(tmp_path)[0].problem == problem
    weights.unlink()
    assert list_versions(tmp_path)[0].problem == problem


def test_what_this_user_may_not_read_is_told_as_such(tmp_path, monkeypatch):
    publish(tmp_path, 1)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(metadata, "read_metadata", refuse)
    assert list_versions(tmp_path)[0].problem == "sam_decoder has no readable model.onnx (Permission denied)"
    monkeypatch.setattr(versions, "numbers", refuse)
    with pytest.raises(RepositoryError, match="sam_encoder can't be read: Permission denied"):
        list_versions(tmp_path)


def test_a_version_that_another_command_moves_away_while_it_is_looked_at_is_no_error(tmp_path, monkeypatch):
    publish(tmp_path, 1)

    def vanished(folder, _):
        raise FileNotFoundError(2, "No such file or directory", str(folder))

    monkeypatch.setattr(Path, "rglob", vanished)
    assert [version.bytes for version in list_versions(tmp_path)] == [0]


def test_foreign_folders_are_not_versions(tmp_path):
    publish(tmp_path, 1)
    (tmp_path / "sam_encoder" / "old").mkdir()
    (tmp_path / "sam_encoder" / "7").touch()
    assert [version.number for version in list_versions(tmp_path)] == [1]


def test_a_folder_without_configurations_is_no_repository(tmp_path):
    with pytest.raises(RepositoryError, match="is no model repository: it must hold"):
        list_versions(tmp_path)


def test_a_repository_without_a_whole_version_cannot_be_served(tmp_path):
    publish(tmp_path, 1, models=["sam_encoder"])
    publish(tmp_path, 2, models=["sam_decoder"])
    with pytest.raises(RepositoryError, match="holds no model that can be served; give a checkpoint"):
        require_models(tmp_path)


def test_a_broken_version_among_those_that_triton_loads_is_warned_of(tmp_path):
    for number in (1, 2, 3):
        publish(tmp_path, number)
    for number in (1, 3):
        (tmp_path / "sam_decoder" / str(number) / "model.onnx").unlink()
    with capture_logs() as logs:
        require_models(tmp_path)
    assert [entry["event"] for entry in logs] == ["version 3 can't be served: sam_decoder has no readable model.onnx"]
