"""Publishing a pair of graphs so that nobody ever sees half of it, and finding it again."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export import ExportJob, prepare
from export.metadata import CHECKPOINT_SHA256, EXPORT_FORMAT, FORMAT_VERSION, IDENTITY, read_metadata, sha256
from imgr.errors import RepositoryError
from imgr.repository import moves
from imgr.repository.layout import CONFIGURATION, GRAPH, MODELS, numbers, staging_folder

_SHIPPED = Path(__file__).parents[2] / "model_repository"


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
            folder = self._folder / model
            os.utime(folder)  # a copy of an old pair is news nevertheless
            for path in (*folder.iterdir(), folder):
                moves.sync(path)
        with moves.locked(self._repository):
            return moves.add(self._folder, self._repository)


@contextmanager
def staging(repository: Path) -> Iterator[Staging]:
    """Prepare a repository for one export and stage it, waiting for an export that is already running.

    Creates the repository if need be, gives each model its shipped configuration if it has none, and finishes or
    removes what an interrupted export left.

    Raises:
        RepositoryError: if it cannot be written.
    """
    folder = staging_folder(repository)
    with moves.failures_translated(repository):
        for model in MODELS:
            (repository / model).mkdir(parents=True, exist_ok=True)
        # Exports take turns; the repository stays free for those who only move something.
        with moves.flock(repository / MODELS[0]):
            with moves.locked(repository):
                for model in MODELS:
                    _configure(repository / model, model)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield Staging(folder, repository)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def publish(job: ExportJob, repository: Path) -> Publication:
    """Export a checkpoint as the next version of both models of a repository, which is created if need be.

    Raises:
        ExportError: with one sentence about what was wrong; nothing was published.
        RepositoryError: if the repository cannot be written.
        ModuleNotFoundError: if PyTorch or segment-anything is not installed.
    """
    prepared = prepare(job)
    with staging(repository) as stage:
        prepared.write(*map(stage.graph, MODELS))
        job.progress("Publishing", 0.95)
        publication = Publication(stage.publish(), prepared.identity)
    job.progress(f"Published {prepared.identity} as version {publication.version}", 1.0)
    return publication


def find_published(checkpoint: Path, repository: Path) -> Publication | None:
    """Return the newest pair in the repository that was exported from this very file, if there is one.

    Neither PyTorch nor the weights are loaded.

    Raises:
        OSError: if the checkpoint cannot be read.
    """
    digest = sha256(checkpoint)
    for version in sorted(set.intersection(*(numbers(repository / model) for model in MODELS)), reverse=True):
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
        RepositoryError: if the repository cannot be written.
    """
    with staging(repository) as stage:
        for model in MODELS:
            folder = stage.graph(model).parent
            shutil.copytree(repository / model / str(version), folder, dirs_exist_ok=True)
        return stage.publish()


def _metadata(graph: Path) -> dict[str, str]:
    try:
        return read_metadata(graph)
    except (OSError, ValueError):
        return {}  # an operator's folder without a readable graph is not the one looked for


def _configure(folder: Path, model: str) -> None:
    target = folder / CONFIGURATION
    shipped = _SHIPPED / model / target.name
    if target.exists():
        return
    if not shipped.exists():
        raise RepositoryError(f"{target} is missing; copy it from the project's model_repository folder")
    unfinished = folder / ".config.pbtxt"
    shutil.copyfile(shipped, unfinished)
    unfinished.rename(target)
