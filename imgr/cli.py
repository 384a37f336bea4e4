"""The command line."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from imgr.errors import ImgrError

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
            Console(stderr=True).print(f"[bold red]imgr:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from error

    return wrapped


@app.command()
@_in_words
def serve(
    host: Annotated[str, typer.Option(help="address the REST API listens on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port the REST API listens on")] = 8000,
    triton_http_port: Annotated[int | None, typer.Option(help="port of Triton's HTTP endpoint; any free one")] = None,
    triton_metrics_port: Annotated[int | None, typer.Option(help="port of Triton's metrics; any free one")] = None,
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
) -> None:
    """Publish a checkpoint as the next version of the model repository."""
    from imgr.exporting import export_with_progress  # noqa: PLC0415
    from imgr.repository import chosen_repository  # noqa: PLC0415

    export_with_progress(console, checkpoint, chosen_repository(model_repository))


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
    from imgr.repository import chosen_repository, list_versions, served_version  # noqa: PLC0415

    versions = list_versions(chosen_repository(model_repository))
    url = os.environ.get("IMGR_TRITON_URL")
    served = served_version(url) if url else None
    table = Table(
        "version", Column("identity", overflow="fold"), "size", "exported", "checkpoint", box=None, padding=(0, 2, 0, 0)
    )
    for version in versions:
        table.add_row(
            f"{version.number}{' served' if version.number == served else ''}",
            f"[red]{version.problem}[/]" if version.problem else version.identity,
            f"{version.bytes / 1e6:.0f} MB",
            version.exported_at[:16].replace("T", " "),
            version.checkpoint,
        )
    console.print(table)


@app.command()
@_in_words
def doctor(
    port: Annotated[int, typer.Option(help="port that `imgr serve` would listen on")] = 8000,
    model_repository: Repository = None,
) -> None:
    """Tell what this machine lacks to serve."""
    from imgr.doctor import State, examine  # noqa: PLC0415
    from imgr.repository import chosen_repository  # noqa: PLC0415

    colours = {State.WELL: "green", State.DOUBTFUL: "yellow", State.FAILED: "red"}
    checks = examine(chosen_repository(model_repository), port)
    for check in checks:
        console.print(f"[{colours[check.state]}]{check.state}[/] {escape(check.finding)}", soft_wrap=True)
    if any(check.state is State.FAILED for check in checks):
        raise typer.Exit(1)
