import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imgr.triton import workspace as module
from imgr.triton.workspace import workspace


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Temporary files and shared memory of this test alone."""
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_SHARED_MEMORY", shared)
    return shared


def test_the_folder_and_its_shared_memory_are_removed_at_the_end(own_folders):
    (own_folders / "somebody-elses").touch()
    with workspace() as folder:
        (folder / "backends").mkdir()
        (own_folders / f"{folder.name}1234").touch()
    assert not folder.exists()
    assert [each.name for each in own_folders.iterdir()] == ["somebody-elses"]


def test_a_folder_in_use_is_left_alone():
    with workspace() as first, workspace():
        assert first.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(own_folders, tmp_path):
    script = (
        "import os, tempfile; from imgr.triton.workspace import workspace; "
        f"tempfile.tempdir = {str(tmp_path)!r}; context = workspace(); print(context.__enter__().name, flush=True); "
        "os.kill(os.getpid(), 9)"
    )
    left = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    (own_folders / f"{left}5678").touch()
    assert (tmp_path / left).is_dir()
    with workspace():
        assert not (tmp_path / left).exists()
        assert list(own_folders.iterdir()) == []
    assert [path for path in Path(tmp_path).iterdir() if path != own_folders] == []
