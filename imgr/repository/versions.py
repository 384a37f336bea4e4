"""What a model repository holds, read from its files."""

from dataclasses import dataclass
from pathlib import Path

import structlog

from export import metadata
from imgr.errors import RepositoryError
from imgr.repository.layout import CONFIGURATION, GRAPH, LOADED_VERSIONS, MODELS, numbers

log = structlog.stdlib.get_logger("imgr.repository")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the pair.

    Attributes:
        number: the folder's name in both models.
        variant: the architecture, such as ``vit_b``.
        precision: the arithmetic, such as ``fp32``.
        identity: what both graphs carry.
        bytes: size of both folders.
        exported_at: ISO 8601, UTC.
        checkpoint: name of the exported file.
        problem: why the pair can't be served, None if its files look right.
    """

    number: int
    variant: str
    precision: str
    identity: str
    bytes: int
    exported_at: str
    checkpoint: str
    problem: str | None


def list_versions(repository: Path) -> list[Version]:
    """Return all versions, newest first. Raises RepositoryError if there is no repository, or it can't be read."""
    try:
        if not all((repository / model / CONFIGURATION).is_file() for model in MODELS):
            raise RepositoryError(
                f"{repository} is no model repository: it must hold sam_encoder/config.pbtxt and "
                "sam_decoder/config.pbtxt; run in the project's folder, or name the repository with --model-repository"
            )
        present = set[int]().union(*(numbers(repository / model) for model in MODELS))
        return [_version(repository, number) for number in sorted(present, reverse=True)]
    except OSError as error:
        raise RepositoryError(f"{error.filename or repository} can't be read: {error.strerror}") from error


def require_models(repository: Path) -> None:
    """Raise RepositoryError if no version looks as if it could be served; warn of those that spoil others."""
    versions = list_versions(repository)
    if not any(version.problem is None for version in versions):
        raise RepositoryError(
            f"{repository} holds no model that can be served; "
            "give a checkpoint: SAM_CHECKPOINT_PATH=models/sam_vit_b_01ec64.pth uv run --extra export imgr serve"
        )
    for version in broken_newest(versions):
        log.warning(
            f"version {version.number} can't be served: {version.problem}",
            hint="a Triton that starts with a broken version among the newest two serves none; remove the folder",
        )


def broken_newest(versions: list[Version]) -> list[Version]:
    """Return the broken ones among the newest, which Triton loads all or none of."""
    return [version for version in versions[:LOADED_VERSIONS] if version.problem is not None]


def _version(repository: Path, number: int) -> Version:
    folders = [repository / model / str(number) for model in MODELS]
    properties: list[dict[str, str]] = []
    problem = None
    for folder in folders:
        found: dict[str, str] = {}
        try:
            found = metadata.read_metadata(folder / GRAPH)
            problem = problem or _lack(folder, found)
        except (OSError, ValueError) as error:
            reason = f" ({error.strerror})" if isinstance(error, PermissionError) else ""
            problem = f"{folder.parent.name} has no readable model.onnx{reason}"
        properties.append(found)
    encoder, decoder = (each.get(metadata.IDENTITY) for each in properties)
    if problem is None and encoder != decoder:
        problem = f"the encoder is of {encoder}, the decoder of {decoder}"
    known = properties[0] or properties[1]
    return Version(
        number=number,
        variant=known.get(metadata.VARIANT, "?"),
        precision=known.get(metadata.PRECISION, "?"),
        identity=known.get(metadata.IDENTITY, "?"),
        bytes=sum(map(_size, folders)),
        exported_at=known.get(metadata.EXPORTED_AT, "?"),
        checkpoint=known.get(metadata.CHECKPOINT, "?"),
        problem=problem,
    )


def _size(folder: Path) -> int:
    """Return the bytes in a folder, none if it is moved away this moment."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:
        return 0


def _lack(folder: Path, properties: dict[str, str]) -> str | None:
    """Return what a version folder of one model lacks, None if nothing; raises OSError or ValueError."""
    if metadata.IDENTITY not in properties:
        return f"the model.onnx of {folder.parent.name} is not one that `imgr export` wrote: it names no identity"
    for name, size in metadata.files_beside(folder / GRAPH).items():
        weights = folder / name
        if not weights.is_file() or weights.stat().st_size < size:
            return f"{folder.parent.name} lacks its weights: {name} is missing, or not whole"
    return None
