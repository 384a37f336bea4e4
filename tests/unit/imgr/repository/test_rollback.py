import multiprocessing

import pytest

from imgr.errors import RepositoryError
from imgr.repository.layout import MODELS, numbers, withdrawn_folder
from imgr.repository.rollback import prune, roll_back, undo
from imgr.repository.versions import list_versions
from tests.unit.imgr.repository.test_versions import publish


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "models"


def fill(repository, *versions, broken=()):
    for number in (*versions, *broken):
        publish(repository, number)
    for number in broken:
        (repository / "sam_decoder" / str(number) / "model.onnx").write_bytes(b"half a model")


def left(repository):
    both = [numbers(repository / model) for model in MODELS]
    assert both[0] == both[1]
    return both[0]


def listed(versions):
    return [version.number for version in versions]


def test_a_rollback_withdraws_the_newest_version_and_can_be_undone(repository):
    fill(repository, 1, 2, 3)
    done = roll_back(repository)
    assert (listed(done.withdrawn), done.newest.number) == ([3], 2)
    assert left(repository) == {1, 2}
    assert undo(repository).number == 3
    assert left(repository) == {1, 2, 3}


def test_a_rollback_goes_back_as_far_as_it_is_told(repository):
    fill(repository, 1, 2, 3, 4)
    done = roll_back(repository, to=2)
    assert (listed(done.withdrawn), done.newest.number) == ([4, 3], 2)
    assert left(repository) == {1, 2}


def test_a_broken_newest_version_is_what_a_rollback_withdraws(repository):
    fill(repository, 1, 2, broken=[3])
    assert roll_back(repository).newest.number == 2
    assert left(repository) == {1, 2}


def test_half_a_pair_is_withdrawn(repository):
    fill(repository, 1, 2)
    publish(repository, 3, models=["sam_decoder"])
    assert roll_back(repository).newest.number == 2
    assert left(repository) == {1, 2}


def test_a_rollback_withdraws_broken_versions_that_triton_would_have_to_load_next_and_no_others(repository):
    fill(repository, 1, 3, 5, 6, broken=[2, 4])
    done = roll_back(repository)
    assert (listed(done.withdrawn), done.newest.number) == ([6, 4], 5)
    assert left(repository) == {1, 2, 3, 5}


@pytest.mark.parametrize(
    ("versions", "broken", "to", "reason"),
    [
        ([], [], None, "there is no version to go back from"),
        ([4], [], None, "there is nothing to go back to: version 4 is the only one"),
        ([3], [2], None, "version 2 can't be served: sam_decoder has no readable model.onnx; there is no other"),
        ([1, 3], [2], None, "version 2 can't be served: .*; go to another with `imgr rollback --to 1`"),
        ([1, 2, 3], [], 3, "there is no version 3 to go back to; versions before the newest: 2, 1"),
        ([1, 2, 3], [], 9, "there is no version 9 to go back to"),
    ],
)
def test_a_rollback_to_nowhere_is_refused_and_changes_nothing(repository, versions, broken, to, reason):
    fill(repository, 9, *versions, broken=broken)
    for model in MODELS:  # a repository has configurations, even if it has no version
        folder = repository / model / "9"
        (folder / "model.onnx").unlink()
        folder.rmdir()
    with pytest.raises(RepositoryError, match=reason):
        roll_back(repository, to)
    assert left(repository) == {*versions, *broken}
    assert numbers(withdrawn_folder(repository)) == set()


def test_an_undo_without_a_rollback_is_refused(repository):
    fill(repository, 1)
    with pytest.raises(RepositoryError, match="no version is withdrawn"):
        undo(repository)


def test_an_undo_that_would_not_be_served_is_refused(repository):
    fill(repository, 1, 2)
    roll_back(repository)
    publish(repository, 3)
    with pytest.raises(RepositoryError, match="version 2 is withdrawn, but version 3 would still be the newest"):
        undo(repository)
    assert left(repository) == {1, 3}


def test_pruning_keeps_the_newest_good_versions_and_what_is_served(repository):
    fill(repository, 1, 2, 3, 5, 6, broken=[4])
    roll_back(repository)
    publish(repository, 7)
    done = prune(repository, 2, served={2})
    assert (done.removed, done.withdrawn) == ([1, 3], [4, 6])
    assert left(repository) == {2, 5, 7}
    assert done.bytes > 0
    assert [path.name for path in repository.parent.iterdir()] == ["models"]


def test_pruning_leaves_a_version_newer_than_any_good_one_to_whoever_is_copying_it(repository):
    fill(repository, 1, 2, broken=[3])
    assert prune(repository, 1, served=set()).removed == [1]
    assert left(repository) == {2, 3}


def test_pruning_where_nothing_can_be_served_is_refused(repository):
    fill(repository, broken=[1, 2])
    with pytest.raises(RepositoryError, match="holds no version that can be served; nothing was deleted"):
        prune(repository, 1, served=set())
    assert left(repository) == {1, 2}


def try_to_roll_back(repository, start, results):
    start.wait()
    try:
        results.put(roll_back(repository).newest.number)
    except RepositoryError as error:
        results.put(str(error))


def test_of_rollbacks_at_the_same_time_none_goes_back_further_than_it_saw(repository):
    fill(repository, *range(1, 9))
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=try_to_roll_back, args=(repository, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    told = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    succeeded = [each for each in told if isinstance(each, int)]
    assert len(succeeded) == len(set(succeeded)) >= 1
    assert all("was changed by another command meanwhile" in each for each in told if isinstance(each, str))
    assert left(repository) == set(range(1, min(succeeded) + 1))
    assert listed(list_versions(repository))[0] == min(succeeded)
