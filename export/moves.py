"""Moving a pair of version folders into a repository or out of it, so that no interruption leaves half a pair.

What moves is gathered in a folder beside the repository: on the same file system, and outside of what Triton polls.
The version's number is noted there before the first of the two renames, and the lock is held until after the second.
Should a command die between them, the next one that takes the lock finds the note and finishes.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import UnusableRepository

# In this order in, the other way out: without its encoder nothing of a version can be served, and a lone decoder is
# small.
MODELS = ("sam_decoder", "sam_encoder")
NOTE = "version"


def staging_folder(repository: Path) -> Path:
    """Return where an export prepares a pair."""
    return repository.parent / f".{repository.name}.staging"


def withdrawn_folder(repository: Path) -> Path:
    """Return where pairs lie that were taken out, each in a folder named by its number."""
    return repository.parent / f".{repository.name}.withdrawn"


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Hold a repository for a few renames; what an interrupted command left undone is finished first.

    Raises:
        UnusableRepository: if it cannot be written.
    """
    with failures_translated(repository), flock(repository):
        returning, leaving = (withdrawn_folder(repository) / name for name in ("returning", "leaving"))
        for folder in (staging_folder(repository), returning):
            if (folder / NOTE).exists():
                _move_in(folder, repository)
        if (leaving / NOTE).exists():
            _move_out(leaving, repository)
        yield


@contextmanager
def flock(folder: Path) -> Iterator[None]:
    """Hold a folder's advisory lock, which the operating system releases however the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def publish(folder: Path, repository: Path) -> int:
    """Move the pair in `folder` into the locked repository; return the number it got.

    That is one more than any that is there or was withdrawn: a number never comes to mean another pair, which a Triton
    that looks every second could take for the old one.
    """
    taken = set(numbers(withdrawn_folder(repository))).union(*(numbers(repository / model) for model in MODELS))
    version = 1 + max(taken, default=0)
    _note(folder, version)
    _move_in(folder, repository)
    return version


def withdraw(version: int, repository: Path) -> None:
    """Move a version out of the locked repository, to where `restore` finds it."""
    folder = withdrawn_folder(repository) / "leaving"
    shutil.rmtree(folder, ignore_errors=True)  # an interruption before the note
    folder.mkdir(parents=True)
    _note(folder, version)
    _move_out(folder, repository)


def restore(version: int, repository: Path) -> None:
    """Move a withdrawn version back into the locked repository, under the number it had."""
    folder = withdrawn_folder(repository) / "returning"
    (folder.parent / str(version)).rename(folder)  # with its note
    _move_in(folder, repository)


def discard(repository: Path) -> None:
    """Delete all withdrawn versions of the locked repository."""
    folder = withdrawn_folder(repository)
    doomed = folder.with_suffix(".pruned")  # an interruption must not leave half a version to restore
    shutil.rmtree(doomed, ignore_errors=True)
    if folder.exists():
        folder.rename(doomed)
        shutil.rmtree(doomed)


def numbers(folder: Path) -> set[int]:
    """Return the numbers of the version folders in a folder; none if it is not there."""
    if not folder.is_dir():
        return set()
    return {int(child.name) for child in folder.iterdir() if child.name.isdecimal() and child.is_dir()}


def sync(path: Path) -> None:
    """Write a file or a folder's entries through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _note(folder: Path, version: int) -> None:
    unfinished = folder / f"{NOTE}.new"
    unfinished.write_text(str(version))
    sync(unfinished)
    unfinished.rename(folder / NOTE)
    sync(folder)


def _move_in(folder: Path, repository: Path) -> None:
    """Rename the pair in `folder` to its place; a repetition does what an interruption left undone."""
    version = (folder / NOTE).read_text()
    for model in MODELS:
        if (folder / model).exists():
            (folder / model).rename(repository / model / version)
            sync(repository / model)
    shutil.rmtree(folder)


def _move_out(folder: Path, repository: Path) -> None:
    """Rename a pair to `folder`, then `folder` to its place; repeatable like `_move_in`."""
    version = (folder / NOTE).read_text()
    for model in reversed(MODELS):
        source = repository / model / version
        if source.exists() and not (folder / model).exists():
            source.rename(folder / model)
            sync(folder)
    target = folder.parent / version
    shutil.rmtree(target, ignore_errors=True)  # an operator gave a withdrawn number to a pair of his own
    folder.rename(target)
    sync(target.parent)


@contextmanager
def failures_translated(repository: Path) -> Iterator[None]:
    """Raise UnusableRepository for an OSError."""
    try:
        yield
    except OSError as error:
        raise UnusableRepository(
            f"The model repository {repository} cannot be written: {error.strerror or error}; it and the folder "
            "around it must be writable and on one file system."
        ) from error
