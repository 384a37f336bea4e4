"""The command line."""

import contextlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from imgr.errors import ImgrError, RepositoryError

P = ParamSpec("P")
T = TypeVar("T")

app = typer.Typer(
    help="Interactive segmentation as a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)

Repository = Annotated[
    Path | None, typer.Option("--model-repository", help="Triton's model repository [IMGR_MODEL_REPOSITORY]")
]


def _in_words(command: Callable[P, T]) -> Callable[P, T]:
    """Let a command end with a sentence and status 1 instead of a traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except ImgrError as error:
            _complain(str(error))
            raise typer.Exit(1) from error

    return wrapped


def _complain(sentence: str) -> None:
    Console(stderr=True).print(f"[bold red]imgr:[/] {escape(sentence)}", soft_wrap=True, highlight=False)


def _tell_tritons(repository: Path) -> bool:
    """Have Tritons in explicit mode load what is in the repository now; False if there are no external ones."""
    from imgr.repository import list_versions  # noqa: PLC0415
    from imgr.triton.control import external_tritons, reload_all  # noqa: PLC0415

    urls = external_tritons()
    if not urls:
        return False
    versions = list_versions(repository)
    if not versions:
        raise RepositoryError(f"{repository} holds no version to serve")
    reload_all(urls, versions[0].number)
    return True


@app.command()
@_in_words
def serve(
    host: Annotated[str, typer.Option(help="address the REST API listens on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port the REST API listens on")] = 8000,
    triton_http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="port of Triton's HTTP endpoint; any free one")
    ] = None,
    triton_metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="port of Triton's metrics; any free one")
    ] = None,
    model_repository: Repository = None,
    ready_timeout: Annotated[
        float, typer.Option(help="seconds after which it gives up if no click can be answered")
    ] = 600,
) -> None:
    """Serve clicks: Triton and the REST API, until interrupted."""
    from imgr.serve import serve as run  # noqa: PLC0415 - other commands start faster without it

    run(
        console,
        host=host,
        port=port,
        triton_http_port=triton_http_port,
        triton_metrics_port=triton_metrics_port,
        model_repository=model_repository,
        ready_timeout=ready_timeout,
    )


@app.command()
@_in_words
def export(
    checkpoint: Annotated[Path, typer.Option(help="a .pth file of SAM or MobileSAM")],
    model_repository: Repository = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="fp16 for GPUs, int8 (of the encoder) for CPUs with VNNI")
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
    from imgr.exporting import export_with_progress  # noqa: PLC0415
    from imgr.repository import LOADED_VERSIONS, chosen_repository, list_versions, spoilers  # noqa: PLC0415

    repository = chosen_repository(model_repository)
    export_with_progress(console, checkpoint, repository, precision=precision, pictures=pictures, force=force)
    for version in spoilers(list_versions(repository)):
        console.print(
            f"[yellow]Version {version.number} can't be served ({escape(version.problem or '')}), and Triton loads the "
            f"newest {LOADED_VERSIONS} or none; `imgr prune --keep {LOADED_VERSIONS}` deletes it, "
            "with --force where no Triton runs.[/]",
            soft_wrap=True,
        )
    _tell_tritons(repository)


@app.command()
@_in_words
def download(
    variant: Annotated[str, typer.Argument(help="vit_h, vit_l, vit_b or vit_t (MobileSAM)")],
    folder: Annotated[Path, typer.Option(help="where to put the checkpoint")] = Path("models"),
) -> None:
    """Download an official checkpoint and check its SHA-256."""
    from imgr.download import download as fetch  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(variant, total=None)
        path = fetch(variant, folder, lambda done, total: progress.update(task, completed=done, total=total))
    console.print(f"{path} is complete. Serve it with: SAM_CHECKPOINT_PATH={path} uv run --extra export imgr serve")


@app.command()
@_in_words
def models(model_repository: Repository = None) -> None:
    """List the versions in the model repository."""
    from imgr.repository import chosen_repository, list_versions  # noqa: PLC0415
    from imgr.triton.control import served_versions  # noqa: PLC0415

    repository = chosen_repository(model_repository)
    versions = list_versions(repository)
    try:
        served = served_versions(repository)
    except RepositoryError as error:
        _complain(f"which version is served is not known: {error}")
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
    Console(width=max(console.width, 140), highlight=False).print(table)


@app.command()
@_in_words
def rollback(
    to: Annotated[int | None, typer.Option(help="the version to go back to; the one before the newest")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="bring back what was withdrawn last")] = False,
    model_repository: Repository = None,
) -> None:
    """Go back to an older version: newer ones are withdrawn, and kept beside the repository."""
    from imgr import rollback as action  # noqa: PLC0415
    from imgr.repository import chosen_repository  # noqa: PLC0415

    repository = chosen_repository(model_repository)
    if undo:
        newest = action.undo(repository)
        console.print(f"Version {newest.number}, {newest.identity}, is back.")
    else:
        done = action.roll_back(repository, to)
        newest = done.newest
        gone = ", ".join(str(version.number) for version in done.withdrawn)
        console.print(
            f"Withdrawn: version {gone}. Newest now: version {newest.number}, {newest.identity}. "
            "`imgr rollback --undo` takes this back.",
            soft_wrap=True,
        )
    _tell_tritons(repository)


@app.command()
@_in_words
def prune(
    keep: Annotated[int, typer.Option(min=1, help="how many of the newest versions stay")],
    model_repository: Repository = None,
    force: Annotated[bool, typer.Option("--force", help="even if no Triton can be asked what it serves")] = False,
) -> None:
    """Delete old versions, and withdrawn ones; never what is served."""
    from imgr import rollback as action  # noqa: PLC0415
    from imgr.repository import chosen_repository  # noqa: PLC0415
    from imgr.triton.control import served_versions  # noqa: PLC0415

    repository = chosen_repository(model_repository)
    served: set[int] = set()
    with contextlib.suppress(RepositoryError) if force else contextlib.nullcontext():
        served = served_versions(repository)
    if not served and not force:
        raise RepositoryError(
            "no Triton that serves this repository could be asked which version must stay; "
            "name it in IMGR_TRITON_URL, or, if there is none, say --force"
        )
    done = action.prune(repository, keep, served)
    for kind, numbers in (("old", done.removed), ("withdrawn", done.withdrawn)):
        if numbers:
            console.print(f"Deleted {kind}: version {', '.join(map(str, numbers))}.")
    console.print(f"{done.bytes / 1e6:.0f} MB freed.")
    if done.removed:
        _tell_tritons(repository)


@app.command()
@_in_words
def reload(model_repository: Repository = None) -> None:
    """Tell the Tritons that IMGR_TRITON_URL names of the newest version, if another command could not reach them."""
    from imgr.repository import chosen_repository  # noqa: PLC0415

    if not _tell_tritons(chosen_repository(model_repository)):
        raise RepositoryError("IMGR_TRITON_URL names no Triton; the one that `imgr serve` starts needs no telling")


@app.command()
@_in_words
def doctor(
    port: Annotated[int, typer.Option(min=0, max=65535, help="port that `imgr serve` would listen on")] = 8000,
    model_repository: Repository = None,
) -> None:
    """Tell what this machine lacks to serve."""
    from imgr.configuration import read_settings  # noqa: PLC0415
    from imgr.doctor import State, examine  # noqa: PLC0415

    colours = {State.WELL: "green", State.DOUBTFUL: "yellow", State.FAILED: "red"}
    checks = examine(read_settings(model_repository=model_repository), port)
    for check in checks:
        console.print(f"[{colours[check.state]}]{check.state}[/] {escape(check.finding)}", soft_wrap=True)
    if any(check.state is State.FAILED for check in checks):
        raise typer.Exit(1)
