"""What the commands that change a repository make of a running Triton, polling or in explicit mode."""

import shutil
import threading
import time
from collections import Counter

import pytest
from typer.testing import CliRunner

from imgr.cli import app
from imgr.configuration import read_settings
from imgr.errors import RepositoryError
from imgr.repository.layout import MODELS
from imgr.repository.rollback import prune, roll_back, undo
from imgr.triton.control import reload, served_version, served_versions
from tests.support.triton import Triton
from tests.unit.imgr.repository.test_versions import publish as write

pytestmark = pytest.mark.triton


@pytest.fixture
def repository(tmp_path):
    """A repository of two versions whose models are not SAM, but quick."""
    write(tmp_path / "models", 1)
    write(tmp_path / "models", 2)
    return tmp_path / "models"


@pytest.fixture
def running(repository, tmp_path):
    """Start a tritonserver in a model control mode."""
    started = []

    def run(mode):
        started.append(Triton(repository, tmp_path / "log", mode))
        return started[0].wait_until_ready(*MODELS)

    yield run
    for triton in started:
        triton.stop()


class Requests:
    """Asks both models without pause, and counts the answers."""

    def __init__(self, triton):
        self.statuses = Counter()
        self._triton = triton
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _ask(self):
        while not self._stop.is_set():
            for model in MODELS:
                self.statuses[self._triton.infer(model, [[1, 2, 3, 4]], outputs=["doubled"]).status_code] += 1


def publish(repository, number):
    """Add a version by moving whole folders in."""
    stage = repository.parent / "stage"
    write(stage, number)
    for model in MODELS:
        (stage / model / str(number)).rename(repository / model / str(number))
    shutil.rmtree(stage)


def until_served(url, version):
    deadline = time.monotonic() + 20
    while served_version([url]) != version:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_triton_in_explicit_mode_follows_every_command_and_never_stops_answering(repository, running):
    triton = running("explicit")
    with Requests(triton) as requests:
        publish(repository, 3)
        assert served_version([triton.address]) == 2
        reload(triton.address, 3)
        assert served_version([triton.address]) == 3
        reload(triton.address, roll_back(repository).newest.number)
        assert served_version([triton.address]) == 2
        reload(triton.address, undo(repository).number)
        assert served_version([triton.address]) == 3
        assert prune(repository, 2, {3}).removed == [1]
        reload(triton.address, 3)
    assert set(requests.statuses) == {200}


def test_the_command_line_tells_a_triton_in_explicit_mode(repository, running, monkeypatch):
    triton = running("explicit")
    monkeypatch.setenv("IMGR_TRITON_URL", triton.address)
    monkeypatch.setenv("IMGR_MODEL_REPOSITORY", str(repository))

    def imgr(*arguments):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    imgr("rollback")
    assert served_version([triton.address]) == 1
    imgr("rollback", "--undo")
    assert served_version([triton.address]) == 2
    listed = [line.split() for line in imgr("models").splitlines()]
    assert [(words[0], words[1] == "served") for words in listed[1:]] == [("2", True), ("1", False)]


def test_a_version_that_cannot_be_loaded_is_told_with_tritons_reason_and_the_old_one_serves_on(repository, running):
    triton = running("explicit")
    publish(repository, 3)
    (repository / "sam_decoder" / "3" / "model.onnx").write_bytes(b"half a model")
    with pytest.raises(RepositoryError) as caught:
        reload(triton.address, 3)
    assert "could not load sam_decoder and goes on serving what it served: load failed" in str(caught.value)
    assert "ONNX Runtime can't load its model.onnx" in str(caught.value)
    assert str(repository) not in str(caught.value)
    assert served_version([triton.address]) == 2
    reload(triton.address, roll_back(repository).newest.number)
    assert served_version([triton.address]) == 2
    with pytest.raises(RepositoryError, match="serves version 2 though version 7 is the newest"):
        reload(triton.address, 7)


def test_a_polling_triton_follows_by_itself_and_never_stops_answering(repository, running):
    triton = running("poll")
    with Requests(triton) as requests:
        publish(repository, 3)
        reload(triton.address, 3)
        until_served(triton.address, 3)
        roll_back(repository)
        until_served(triton.address, 2)
        undo(repository)
        until_served(triton.address, 3)
    assert set(requests.statuses) == {200}
    assert served_versions(read_settings(repository)) == {3}  # found without being told where it listens


def test_a_rollback_gets_past_a_broken_version_that_triton_would_have_to_load(repository, running):
    publish(repository, 3)
    triton = running("poll")
    (repository / "sam_decoder" / "1" / "model.onnx").write_bytes(b"half a model")
    roll_back(repository)
    until_served(triton.address, 2)
