"""The temporary folder of one running tritonserver, and its shared memory."""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "imgr-triton-"
_LOCK = "lock"
_SERVING = "serving.json"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Provide a folder whose name also prefixes the shared memory of Triton's Python backend; remove both at the end.

    What killed processes left behind is removed first: a folder is in use while somebody holds its lock, and the
    system releases that however its holder ends.
    """
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (folder / "unlocked").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            Path(lock.name).rename(folder / _LOCK)  # from here on others may try it
            yield folder
    finally:
        _remove(folder)


def announce(folder: Path, repository: Path, http_port: int) -> None:
    """Leave word in a workspace of what its Triton serves, and where."""
    (folder / _SERVING).write_text(json.dumps({"repository": str(repository.resolve()), "http_port": http_port}))


def announced(repository: Path) -> list[int]:
    """Return the ports on 127.0.0.1 of this user's Tritons that serve `repository`, or did until they were killed."""
    ports = []
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_SERVING}"):
        with contextlib.suppress(OSError, ValueError):  # it ends this moment
            serving = json.loads(path.read_text())
            if path.stat().st_uid == os.getuid() and serving["repository"] == str(repository.resolve()):
                ports.append(int(serving["http_port"]))
    return ports


def remove_shared_memory(folder: Path) -> None:
    """Remove the shared memory that a tritonserver working in `folder` left; it must have ended."""
    for region in _SHARED_MEMORY.glob(f"{folder.name}*"):
        region.unlink(missing_ok=True)


def _remove_abandoned() -> None:
    for lock_file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock_file.open("r") as lock:  # in use, or somebody else's
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(lock_file.parent)


def _remove(folder: Path) -> None:
    remove_shared_memory(folder)
    shutil.rmtree(folder, ignore_errors=True)
