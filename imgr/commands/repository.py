"""Commands that look after the model repository."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export import ExportJob, Precision
from imgr.checkpoint import require_checkpoint
from imgr.commands.console import RepositoryOption, complain, out
from imgr.errors import RepositoryError

if TYPE_CHECKING:
    from frontend_api.settings import Settings


def export(
    checkpoint: Annotated[Path, typer.Option(help="a .pth file of SAM or MobileSAM")],
    model_repository: RepositoryOption = None,
    precision: Annotated[
        Precision, typer.Option(help="fp16 for GPUs, int8 (of the encoder) for CPUs with VNNI")
    ] = "fp32",
    pictures: Annotated[
        Path | None,
        typer.Option(help="folder of photos to calibrate fp16 and int8 and to compare masks; else drawn ones"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="publish even if masks differ much from those of fp32")
    ] = False,
) -> None:
    """Publish a checkpoint as the next version of the model repository."""
    require_checkpoint(checkpoint)
    from imgr.configuration import read_settings  # noqa: PLC0415
    from imgr.exporting import export_with_progress  # noqa: PLC0415
    from imgr.repository.layout import LOADED_VERSIONS  # noqa: PLC0415
    from imgr.repository.versions import broken_newest, list_versions  # noqa: PLC0415

    settings = read_settings(model_repository)
    export_with_progress(out, ExportJob(checkpoint, precision, pictures, force), settings.model_repository)
    for version in broken_newest(list_versions(settings.model_repository)):
        out.print(
            f"[yellow]Version {version.number} can't be served ({escape(version.problem or '')}), and Triton loads the "
            f"newest {LOADED_VERSIONS} or none; `imgr prune --keep {LOADED_VERSIONS}` deletes it, "
            "with --force where no Triton runs.[/]",
            soft_wrap=True,
        )
    _tell_tritons(settings)


def models(model_repository: RepositoryOption = None) -> None:
    """List the versions in the model repository."""
    from imgr.configuration import read_settings  # noqa: PLC0415
    from imgr.repository.versions import list_versions  # noqa: PLC0415
    from imgr.triton.control import served_versions  # noqa: PLC0415

    settings = read_settings(model_repository)
    versions = list_versions(settings.model_repository)
    try:
        served = served_versions(settings)
    except RepositoryError as error:
        complain(f"which version is served is not known: {error}")
        served = set()
    columns = ("version", "", "variant", "precision", "identity", "size", "exported", "checkpoint")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for version in versions:
        table.add_row(
            str(version.number),
            "[green]served[/]" if version.number in served else "",
            version.variant,
            version.precision,
            f"[red]{escape(version.problem)}[/]" if version.problem else version.identity,
            f"{version.bytes / 1e6:.0f} MB",
            version.exported_at[:16].replace("T", " "),
            escape(version.checkpoint),
        )
    # What is not a terminal counts as 80 columns wide, and would get every identity cut.
    Console(width=max(out.width, 140), highlight=False).print(table)


def rollback(
    to: Annotated[int | None, typer.Option(help="the version to go back to; the one before the newest")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="bring back what was withdrawn last")] = False,
    model_repository: RepositoryOption = None,
) -> None:
    """Go back to an older version: newer ones are withdrawn, and kept beside the repository."""
    from imgr.configuration import read_settings  # noqa: PLC0415
    from imgr.repository import rollback as action  # noqa: PLC0415

    settings = read_settings(model_repository)
    if undo:
        newest = action.undo(settings.model_repository)
        out.print(f"Version {newest.number}, {newest.identity}, is back.")
    else:
        done = action.roll_back(settings.model_repository, to)
        newest = done.newest
        gone = ", ".join(str(version.number) for version in done.withdrawn)
        out.print(
            f"Withdrawn: version {gone}. Newest now: version {newest.number}, {newest.identity}. "
            "`imgr rollback --undo` takes this back.",
            soft_wrap=True,
        )
    _tell_tritons(settings)


def prune(
    keep: Annotated[int, typer.Option(min=1, help="how many of the newest versions stay")],
    model_repository: RepositoryOption = None,
    force: Annotated[bool, typer.Option("--force", help="even if no Triton can be asked what it serves")] = False,
    shipped: Annotated[bool, typer.Option("--shipped", help="those that this clone ships, too")] = False,
) -> None:
    """Delete old versions, and withdrawn ones; never what is served."""
    from imgr.configuration import read_settings  # noqa: PLC0415
    from imgr.repository import rollback as action  # noqa: PLC0415
    from imgr.repository.shipped import shipped_versions  # noqa: PLC0415
    from imgr.triton.control import served_versions  # noqa: PLC0415

    settings = read_settings(model_repository)
    ours = shipped_versions(settings.model_repository)
    served: set[int] = set()
    with contextlib.suppress(RepositoryError) if force else contextlib.nullcontext():
        served = served_versions(settings)
    if not served and not force:
        raise RepositoryError(
            "no Triton that serves this repository could be asked which version must stay; "
            "name it in IMGR_TRITON_URL, or, if there is none, say --force"
        )
    done = action.prune(settings.model_repository, keep, served, set() if shipped else ours)
    for kind, numbers in (("old", done.removed), ("withdrawn", done.withdrawn)):
        if numbers:
            out.print(f"Deleted {kind}: version {', '.join(map(str, numbers))}.")
    for number in done.spared:
        out.print(f"Kept: version {number}, which this clone ships; --shipped deletes it too.")
    for number in sorted(ours & {*done.removed, *done.withdrawn}):
        out.print(f"Version {number} was one that this clone ships; `git restore` brings its files back.")
    out.print(f"{done.bytes / 1e6:.0f} MB freed.")
    if done.removed:
        _tell_tritons(settings)


def reload(model_repository: RepositoryOption = None) -> None:
    """Tell the Tritons that IMGR_TRITON_URL names of the newest version, if another command could not reach them."""
    from imgr.configuration import read_settings  # noqa: PLC0415

    if not _tell_tritons(read_settings(model_repository)):
        raise RepositoryError("IMGR_TRITON_URL names no Triton; the one that `imgr serve` starts needs no telling")


def _tell_tritons(settings: "Settings") -> bool:
    """Have Tritons in explicit mode load what is in the repository now; False if there are no external ones."""
    from imgr.repository.versions import list_versions  # noqa: PLC0415
    from imgr.triton.control import external_tritons, reload_all  # noqa: PLC0415

    urls = external_tritons(settings)
    if not urls:
        return False
    versions = list_versions(settings.model_repository)
    if not versions:
        raise RepositoryError(f"{settings.model_repository} holds no version to serve")
    reload_all(urls, versions[0].number)
    return True
