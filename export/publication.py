"""Model repositories: publishing a pair of graphs so that nobody ever sees half of it, and finding it again.

A pair is staged in a hidden folder beside the repository (on the same file system, and outside of what Triton
polls), written through to the disk, and moved in by two renames under a lock. The number it will have is noted in
the staging folder before the first rename: should the export die between the two, the next one finishes them.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.errors import UnusableRepository
from export.metadata import CHECKPOINT_SHA256, EXPORT_FORMAT, FORMAT_VERSION, IDENTITY, read_metadata

# The encoder last: until it is there nothing new can be served, and a lone decoder is small.
MODELS = ("sam_decoder", "sam_encoder")
GRAPH = "model.onnx"
_NUMBER = "version"
_SHIPPED = Path(__file__).parents[1] / "model_repository"


@dataclass(frozen=True)
class Publication:
    """A pair of graphs in a model repository."""

    version: int
    identity: str


class Staging:
    """A place for the two graphs of one export, published together or not at all."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self._folder = folder
        self._repository = repository

    def graph(self, model: str) -> Path:
        """Return where to write a model's graph; files beside it are published with it."""
        folder = self._folder / model
        folder.mkdir(exist_ok=True)
        return folder / GRAPH

    def publish(self) -> int:
        """Move the staged graphs into the repository and return their version number."""
        for model in MODELS:
            _sync_folder(self._folder / model)
        version = 1 + max((n for model in MODELS for n in _versions(self._repository / model)), default=0)
        (self._folder / _NUMBER).write_text(str(version))
        _sync_folder(self._folder)
        _move_in(self._folder, self._repository)
        return version


@contextmanager
def staging(repository: Path) -> Iterator[Staging]:
    """Prepare a repository for one export and stage it, waiting for an export that is already running.

    Creates the repository if need be, gives each model its shipped configuration if it has none, and finishes or
    removes what an interrupted export left.

    Raises:
        UnusableRepository: if it cannot be written.
    """
    repository = repository.absolute()
    folder = repository.parent / f".{repository.name}.staging"
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with _locked(repository):
            for model in MODELS:
                _configure(repository / model, model)
            if (folder / _NUMBER).exists():
                _move_in(folder, repository)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield Staging(folder, repository)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise UnusableRepository(
            f"The model repository {repository} cannot be written: {error.strerror or error}; it and the folder "
            "around it must be writable and on one file system."
        ) from error


def find_published(checkpoint: Path, repository: Path) -> Publication | None:
    """Return the newest pair in the repository that was exported from this very file, if there is one.

    Neither PyTorch nor the weights are loaded.

    Raises:
        OSError: if the checkpoint cannot be read.
    """
    digest = sha256(checkpoint)
    for version in sorted(set.intersection(*(_versions(repository / model) for model in MODELS)), reverse=True):
        pair = [_metadata(repository / model / str(version) / GRAPH) for model in MODELS]
        if all(
            properties.get(CHECKPOINT_SHA256) == digest and properties.get(EXPORT_FORMAT) == str(FORMAT_VERSION)
            for properties in pair
        ):
            return Publication(version, pair[0][IDENTITY])
    return None


def republish(version: int, repository: Path) -> int:
    """Publish a pair of the repository once more, as its newest version; return the new number.

    Raises:
        UnusableRepository: if the repository cannot be written.
    """
    with staging(repository) as stage:
        for model in MODELS:
            folder = stage.graph(model).parent
            shutil.copytree(repository / model / str(version), folder, dirs_exist_ok=True)
        return stage.publish()


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's advisory lock, which the operating system releases however the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _metadata(graph: Path) -> dict[str, str]:
    try:
        return read_metadata(graph)
    except (OSError, ValueError):
        return {}  # an operator's folder without a readable graph is not the one looked for


def _versions(model: Path) -> set[int]:
    if not model.is_dir():
        return set()
    return {int(folder.name) for folder in model.iterdir() if folder.name.isdecimal() and folder.is_dir()}


def _configure(folder: Path, model: str) -> None:
    folder.mkdir(exist_ok=True)
    target = folder / "config.pbtxt"
    shipped = _SHIPPED / model / target.name
    if target.exists():
        return
    if not shipped.exists():
        raise UnusableRepository(f"{target} is missing; copy it from the project's model_repository folder.")
    unfinished = folder / ".config.pbtxt"
    shutil.copyfile(shipped, unfinished)
    unfinished.rename(target)


def _move_in(folder: Path, repository: Path) -> None:
    """Rename what is staged to its place; a repetition does what an interruption left undone."""
    version = (folder / _NUMBER).read_text()
    for model in MODELS:
        if (folder / model).exists():
            (folder / model).rename(repository / model / version)
            _sync(repository / model)


def _sync_folder(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
