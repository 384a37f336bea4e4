import multiprocessing
import os
from pathlib import Path

import onnx
import pytest

from export.metadata import CHECKPOINT_SHA256, EXPORT_FORMAT, FORMAT_VERSION, IDENTITY, read_metadata, sha256
from imgr.errors import RepositoryError
from imgr.repository.layout import MODELS
from imgr.repository.publication import Publication, find_published, republish, staging


@pytest.fixture
def repository(tmp_path):
    """The path of a repository that is yet to be made."""
    return tmp_path / "models"


def write_graphs(stage, checkpoint=None, identity="vit_b/fp32/0", content=b"weights"):
    """Stage two files that pass for graphs."""
    for model in MODELS:
        graph = onnx.ModelProto(graph=onnx.GraphProto(name="g"))
        graph.graph.initializer.add(raw_data=content)
        properties = {IDENTITY: identity, EXPORT_FORMAT: str(FORMAT_VERSION)}
        properties |= {CHECKPOINT_SHA256: sha256(checkpoint)} if checkpoint else {}
        onnx.helper.set_model_props(graph, properties)
        stage.graph(model).write_bytes(graph.SerializeToString())


def publish(repository, **graphs):
    with staging(repository) as stage:
        write_graphs(stage, **graphs)
        return stage.publish()


def contents(repository):
    return sorted(str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file())


def test_an_empty_repository_gets_version_1_and_the_shipped_configurations(repository):
    assert publish(repository) == 1
    assert contents(repository) == [
        "sam_decoder/1/model.onnx",
        "sam_decoder/config.pbtxt",
        "sam_encoder/1/model.onnx",
        "sam_encoder/config.pbtxt",
    ]
    assert 'name: "sam_encoder"' in (repository / "sam_encoder" / "config.pbtxt").read_text()


def test_a_configuration_that_an_operator_wrote_is_kept(repository):
    publish(repository)
    config = repository / "sam_decoder" / "config.pbtxt"
    config.write_text("# mine")
    publish(repository)
    assert config.read_text() == "# mine"


def test_the_next_version_follows_the_highest_of_either_model(repository):
    publish(repository)
    (repository / "sam_encoder" / "7").mkdir()
    (repository / "sam_decoder" / "notes").mkdir()
    assert publish(repository) == 8
    assert (repository / "sam_decoder" / "8" / "model.onnx").exists()
    assert (repository / "sam_encoder" / "8" / "model.onnx").exists()


def test_weights_beside_a_graph_are_published_with_it(repository):
    with staging(repository) as stage:
        write_graphs(stage)
        (stage.graph("sam_encoder").parent / "model.onnx.data").write_bytes(b"weights")
        stage.publish()
    assert "sam_encoder/1/model.onnx.data" in contents(repository)


def test_an_export_that_fails_leaves_nothing_behind(repository):
    publish(repository)
    before = contents(repository.parent)

    def fail():
        with staging(repository) as stage:
            write_graphs(stage)
            raise RuntimeError("disagreement")

    with pytest.raises(RuntimeError):
        fail()
    assert contents(repository.parent) == before


def test_nothing_half_written_is_ever_inside_the_repository(repository):
    with staging(repository) as stage:
        write_graphs(stage)
        assert contents(repository) == ["sam_decoder/config.pbtxt", "sam_encoder/config.pbtxt"]
        assert {path.name for path in repository.iterdir()} == {"sam_decoder", "sam_encoder"}
        stage.publish()


def die_before_rename(repository, renames):
    """Publish, but end the process as a power cut would, before the rename of this number."""
    rename, done = Path.rename, []

    def dying_rename(path, target):
        if path.parent.name.endswith(".staging") and path.name in MODELS:
            if len(done) == renames:
                os._exit(9)
            done.append(path)
        return rename(path, target)

    Path.rename = dying_rename
    publish(repository, identity="vit_b/fp32/interrupted")


def interrupt(repository, renames):
    publisher = multiprocessing.get_context("spawn").Process(target=die_before_rename, args=(repository, renames))
    publisher.start()
    publisher.join(30)
    assert publisher.exitcode == 9


@pytest.mark.parametrize("renames", [0, 1])
def test_a_publication_that_was_interrupted_is_finished_by_the_next(repository, renames):
    publish(repository)
    interrupt(repository, renames)
    assert not (repository / "sam_encoder" / "2").exists()
    assert publish(repository) == 3
    for model in MODELS:
        assert {folder.name for folder in (repository / model).iterdir() if folder.is_dir()} == {"1", "2", "3"}
        identity = read_metadata(repository / model / "2" / "model.onnx")[IDENTITY]
        assert identity == "vit_b/fp32/interrupted"


def test_what_an_export_left_that_died_while_writing_is_removed(repository):
    publish(repository)
    before = contents(repository.parent)
    leftover = repository.parent / f".{repository.name}.staging" / "sam_encoder" / "model.onnx"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    with staging(repository):
        assert not leftover.exists()
    assert contents(repository.parent) == before


def test_exports_at_the_same_time_publish_one_after_the_other(repository):
    context = multiprocessing.get_context("spawn")
    publishers = [context.Process(target=publish, args=(repository,)) for _ in range(3)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join(60)
    assert [publisher.exitcode for publisher in publishers] == [0, 0, 0]
    for model in MODELS:
        assert {folder.name for folder in (repository / model).iterdir() if folder.is_dir()} == {"1", "2", "3"}


def test_a_repository_that_cannot_be_written_is_refused_in_one_sentence(repository):
    repository.write_text("a file")
    with pytest.raises(RepositoryError, match=r"models can't be written: (Not a directory|File exists)"):
        publish(repository)


def test_an_older_pair_can_be_made_the_newest_again(repository):
    publish(repository, identity="vit_b/fp32/1")
    publish(repository, identity="vit_b/fp32/2")
    assert republish(1, repository) == 3
    for model in MODELS:
        assert read_metadata(repository / model / "3" / "model.onnx")[IDENTITY] == "vit_b/fp32/1"
        assert (repository / model / "1" / "model.onnx").exists()


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "sam.pth"
    path.write_bytes(b"checkpoint")
    return path


def test_a_checkpoint_is_found_as_its_newest_pair(repository, checkpoint, tmp_path):
    assert find_published(checkpoint, repository) is None
    publish(repository, checkpoint=checkpoint, identity="vit_b/fp32/1")
    publish(repository, checkpoint=checkpoint, identity="vit_b/fp32/2")
    publish(repository, identity="vit_l/fp32/3")
    assert find_published(checkpoint, repository) == Publication(2, "vit_b/fp32/2")
    copy = tmp_path / "another name.pth"
    copy.write_bytes(checkpoint.read_bytes())
    assert find_published(copy, repository) == Publication(2, "vit_b/fp32/2")
    copy.write_bytes(b"another checkpoint")
    assert find_published(copy, repository) is None


def test_half_a_pair_or_a_damaged_one_is_not_found(repository, checkpoint):
    for _ in range(3):
        publish(repository, checkpoint=checkpoint)
    (repository / "sam_decoder" / "3" / "model.onnx").write_bytes(b"\xff\xff")
    (repository / "sam_decoder" / "2" / "model.onnx").unlink()
    assert find_published(checkpoint, repository) == Publication(1, "vit_b/fp32/0")


def test_metadata_are_read_past_the_weights(repository):
    publish(repository, content=b"\0" * 5_000_000)
    graph = repository / "sam_encoder" / "1" / "model.onnx"
    assert read_metadata(graph)[IDENTITY] == "vit_b/fp32/0"
    os.truncate(graph, 1_000_000)
    with pytest.raises(ValueError, match="truncated"):
        read_metadata(graph)
