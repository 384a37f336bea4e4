"""Going back to an older version, and making room; both leave a running Triton with something to serve."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from imgr.errors import RepositoryError
from imgr.repository import moves
from imgr.repository.layout import LOADED_VERSIONS, numbers, withdrawn_folder
from imgr.repository.versions import Version, list_versions


@dataclass(frozen=True, slots=True)
class Rollback:
    """What became of a repository.

    Attributes:
        withdrawn: the versions that are no longer in it.
        newest: the version that is to be served.
    """

    withdrawn: list[Version]
    newest: Version


def roll_back(repository: Path, to: int | None = None) -> Rollback:
    """Withdraw the newest version, or all that are newer than `to`.

    Broken versions that Triton would have to load next are withdrawn as well: it loads the newest two, or goes on
    serving what is withdrawn.

    Raises:
        RepositoryError: if there is nothing to go back to, or it can't be served, or another command was faster.
    """
    seen = list_versions(repository)
    with moves.locked(repository):
        versions = list_versions(repository)
        if versions[:1] != seen[:1]:
            raise RepositoryError(f"{repository} was changed by another command meanwhile; look at `imgr models`")
        target = _target(versions, to)
        staying: list[Version] = []
        for version in versions[versions.index(target) :]:
            if version.problem is None or len(staying) >= LOADED_VERSIONS:
                staying.append(version)
        withdrawn = [version for version in versions if version not in staying]
        # The newest last: while it is there, Triton loads what follows it.
        for version in reversed(withdrawn):
            moves.withdraw(version.number, repository)
        return Rollback(withdrawn, target)


def _target(versions: list[Version], to: int | None) -> Version:
    if not versions:
        raise RepositoryError("there is no version to go back from")
    if to is None:
        older = versions[1:2]
        if not older:
            raise RepositoryError(f"there is nothing to go back to: version {versions[0].number} is the only one")
    else:
        older = [version for version in versions[1:] if version.number == to]
        if not older:
            listed = ", ".join(str(version.number) for version in versions[1:]) or "none"
            raise RepositoryError(f"there is no version {to} to go back to; versions before the newest: {listed}")
    target = older[0]
    if target.problem is not None:
        others = [version.number for version in versions[1:] if version.problem is None and version is not target]
        advice = f"go to another with `imgr rollback --to {others[0]}`" if others else "there is no other"
        raise RepositoryError(f"version {target.number} can't be served: {target.problem}; {advice}")
    return target


def undo(repository: Path) -> Version:
    """Bring back the newest of the withdrawn versions.

    Raises:
        RepositoryError: if there is none, or it would not become the repository's newest.
    """
    with moves.locked(repository):
        number = max(numbers(withdrawn_folder(repository)), default=None)
        if number is None:
            raise RepositoryError("no version is withdrawn, so there is none to bring back")
        newest = max((version.number for version in list_versions(repository)), default=0)
        if number <= newest:
            raise RepositoryError(
                f"version {number} is withdrawn, but version {newest} would still be the newest; "
                "go back from that first"
            )
        moves.restore(number, repository)
        return list_versions(repository)[0]


@dataclass(frozen=True, slots=True)
class Pruning:
    """What was deleted: versions of the repository and withdrawn ones, and their size; and what was spared."""

    removed: list[int]
    withdrawn: list[int]
    bytes: int
    spared: list[int]


def prune(repository: Path, keep: int, served: set[int], spared: Set[int] = frozenset()) -> Pruning:
    """Delete all versions but the newest `keep` good ones, those in `served`, and what is newer than any good one.

    Those in `spared` stay too, and it is told of which of them only therefore.

    Withdrawn versions are deleted too.

    Raises:
        RepositoryError: if no version can be served.
    """
    with moves.locked(repository):
        versions = list_versions(repository)
        good = [version.number for version in versions if version.problem is None]
        if not good:
            raise RepositoryError(f"{repository} holds no version that can be served; nothing was deleted")
        kept = {*good[:keep], *served}
        doomed = [v for v in versions if v.number < good[0] and v.number not in kept]
        removed = [v for v in doomed if v.number not in spared]
        withdrawn = sorted(numbers(withdrawn_folder(repository)))
        for version in removed:
            moves.withdraw(version.number, repository)
        size = sum(p.stat().st_size for p in withdrawn_folder(repository).rglob("*") if p.is_file())
        moves.discard(repository)
        saved = sorted(version.number for version in doomed if version not in removed)
        return Pruning(sorted(version.number for version in removed), withdrawn, size, saved)
