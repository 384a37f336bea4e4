import multiprocessing
import os
from pathlib import Path

import pytest

from imgr.errors import RepositoryError
from imgr.repository.layout import MODELS, numbers, withdrawn_folder
from imgr.repository.moves import locked, restore, withdraw
from tests.unit.imgr.repository.test_publication import contents, publish


@pytest.fixture
def repository(tmp_path):
    """A repository with three versions."""
    for _ in range(3):
        publish(tmp_path / "models")
    return tmp_path / "models"


def versions(repository):
    """Return the versions of both models, which must be the same."""
    both = [numbers(repository / model) for model in MODELS]
    assert both[0] == both[1]
    return both[0]


def files(repository):
    return {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}


def run(action, version, repository):
    with locked(repository):
        action(version, repository)


def test_a_withdrawn_version_comes_back_as_it_was(repository):
    before = files(repository)
    run(withdraw, 3, repository)
    assert versions(repository) == {1, 2}
    assert numbers(withdrawn_folder(repository)) == {3}
    run(restore, 3, repository)
    assert files(repository) == before
    assert list(withdrawn_folder(repository).iterdir()) == []


def test_a_withdrawn_number_is_not_given_again(repository):
    run(withdraw, 3, repository)
    assert publish(repository) == 4


def test_half_a_pair_can_be_withdrawn(repository):
    half = repository / "sam_decoder" / "4"
    half.mkdir()
    run(withdraw, 4, repository)
    assert versions(repository) == {1, 2, 3}
    assert contents(withdrawn_folder(repository)) == ["4/version"]


def test_a_withdrawn_number_that_an_operator_used_again_can_be_withdrawn_again(repository):
    run(withdraw, 3, repository)
    for model in MODELS:
        (repository / model / "3").mkdir()
        (repository / model / "3" / "model.onnx").write_bytes(b"by hand")
    run(withdraw, 3, repository)
    assert (withdrawn_folder(repository) / "3" / "sam_encoder" / "model.onnx").read_bytes() == b"by hand"


def die_before_rename(action, repository, renames):
    """Act, but end the process as a power cut would, before the rename of this number."""
    rename, done = Path.rename, []

    def dying_rename(path, target):
        if len(done) == renames:
            os._exit(9)
        done.append(path)
        return rename(path, target)

    Path.rename = dying_rename
    run(action, 3, repository)


def interrupt(action, repository, renames):
    process = multiprocessing.get_context("fork").Process(target=die_before_rename, args=(action, repository, renames))
    process.start()
    process.join(30)
    return process.exitcode == 9


# The renames are: the note, the encoder, the decoder, the folder of both.
@pytest.mark.parametrize(("renames", "left"), [(0, {1, 2, 3}), (1, {1, 2}), (2, {1, 2}), (3, {1, 2})])
def test_an_interrupted_withdrawal_is_finished_by_the_next_command_or_has_not_begun(repository, renames, left):
    assert interrupt(withdraw, repository, renames)
    with locked(repository):
        assert versions(repository) == left
    assert numbers(withdrawn_folder(repository)) == {1, 2, 3} - left
    if left == {1, 2, 3}:
        run(withdraw, 3, repository)  # what lies about is not in the way
    run(restore, 3, repository)
    assert versions(repository) == {1, 2, 3}


# The renames are: the folder of both, the decoder, the encoder.
@pytest.mark.parametrize(("renames", "back"), [(0, {1, 2}), (1, {1, 2, 3}), (2, {1, 2, 3})])
def test_an_interrupted_restoration_is_finished_by_the_next_command_or_has_not_begun(repository, renames, back):
    before = files(repository)
    run(withdraw, 3, repository)
    assert interrupt(restore, repository, renames)
    with locked(repository):
        assert versions(repository) == back
    if back == {1, 2}:
        run(restore, 3, repository)
    assert files(repository) == before


def test_a_command_that_is_not_interrupted_is_not_called_so(repository):
    assert not interrupt(withdraw, repository, 4)


def wait_for_lock(repository, acquired):
    with locked(repository):
        acquired.set()


def test_the_lock_is_held_against_other_processes_but_not_by_an_export_that_is_under_way(repository):
    from imgr.repository.publication import staging

    context = multiprocessing.get_context("spawn")  # a fork would hold the lock as well
    acquired = context.Event()
    other = context.Process(target=wait_for_lock, args=(repository, acquired))
    with staging(repository), locked(repository):
        other.start()
        assert not acquired.wait(2)
    assert acquired.wait(10)
    other.join(10)


def test_a_repository_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RepositoryError, match="No such file"), locked(tmp_path / "none"):
        pass
