import hashlib

import pytest

from export.metadata import FORMAT_VERSION
from imgr.errors import ExportFailed
from imgr.exporting import make_newest
from imgr.repository.layout import MODELS
from imgr.repository.versions import list_versions
from tests.support.tiny_models import write_version


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "sam.pth"
    path.write_bytes(b"no network at all")
    return path


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "models"


def publish(repository, number, weights):
    properties = {
        "identity": f"vit_b/fp32/{number:016x}",
        "checkpoint_sha256": hashlib.sha256(weights).hexdigest(),
        "export_format": str(FORMAT_VERSION),
    }
    for model in MODELS:
        write_version(repository, model, number, metadata=properties)


def identities(repository):
    return {version.number: version.identity for version in list_versions(repository)}


def test_a_checkpoint_that_is_served_already_changes_nothing(checkpoint, repository):
    publish(repository, 1, b"another")
    publish(repository, 2, checkpoint.read_bytes())
    before = identities(repository)
    make_newest(checkpoint, repository)
    assert identities(repository) == before


def test_an_older_version_of_the_checkpoint_becomes_the_newest_without_an_export(checkpoint, repository):
    publish(repository, 1, checkpoint.read_bytes())
    publish(repository, 2, b"another")
    make_newest(checkpoint, repository)
    assert identities(repository) == {
        1: "vit_b/fp32/0000000000000001",
        2: "vit_b/fp32/0000000000000002",
        3: "vit_b/fp32/0000000000000001",
    }


def test_a_checkpoint_that_cannot_be_exported_is_told_and_publishes_nothing(checkpoint, repository, capfd):
    publish(repository, 1, b"another")
    with pytest.raises(ExportFailed, match=r"sam\.pth could not be exported, so it can't be served"):
        make_newest(checkpoint, repository)
    assert "imgr: " in capfd.readouterr().err
    assert list(identities(repository)) == [1]


def test_a_missing_checkpoint_is_told_with_the_command_that_fetches_one(tmp_path, repository):
    with pytest.raises(ExportFailed, match=r"there is no checkpoint at .*none\.pth; `imgr download vit_b` fetches one"):
        make_newest(tmp_path / "none.pth", repository)
