"""Moving a pair of version folders into a repository or out of it, so that no interruption leaves half a pair.

What moves is gathered in a folder beside the repository. The version's number is noted there before the first of the
two renames, and the lock is held until after the second. Should a command die between them, the next one that takes the
lock finds the note and finishes.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imgr.errors import RepositoryError
from imgr.repository.layout import MODELS, numbers, staging_folder, withdrawn_folder

NOTE = "version"


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Hold a repository for a few renames; what an interrupted command left undone is finished first.

    Raises:
        RepositoryError: if it cannot be written.
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


def add(folder: Path, repository: Path) -> int:
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
    # The encoder last in, first out: without it nothing of a version can be served, and a lone decoder is small.
    for model in reversed(MODELS):
        if (folder / model).exists():
            (folder / model).rename(repository / model / version)
            sync(repository / model)
    shutil.rmtree(folder)


def _move_out(folder: Path, repository: Path) -> None:
    """Rename a pair to `folder`, then `folder` to its place; repeatable like `_move_in`."""
    version = (folder / NOTE).read_text()
    for model in MODELS:
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
    """Raise RepositoryError for an OSError."""
    try:
        yield
    except OSError as error:
        raise RepositoryError(
            f"the model repository {repository} can't be written: {error.strerror or error}; it and the folder around "
            "it must be writable and on one file system"
        ) from error
