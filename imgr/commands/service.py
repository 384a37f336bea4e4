"""Commands around serving."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from imgr.commands.console import RepositoryOption, out


def serve(
    host: Annotated[str, typer.Option(help="address the REST API listens on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port the REST API listens on")] = 8000,
    triton_http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="port of Triton's HTTP endpoint; any free one")
    ] = None,
    triton_metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="port of Triton's metrics; any free one")
    ] = None,
    model_repository: RepositoryOption = None,
    ready_timeout: Annotated[
        float, typer.Option(help="seconds after which it gives up if no click can be answered")
    ] = 600,
) -> None:
    """Serve clicks: Triton and the REST API, until interrupted."""
    from imgr.serve import serve as run  # noqa: PLC0415 - other commands start faster without it

    run(
        out,
        host=host,
        port=port,
        triton_http_port=triton_http_port,
        triton_metrics_port=triton_metrics_port,
        model_repository=model_repository,
        ready_timeout=ready_timeout,
    )


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
    with Progress(*columns, console=out) as progress:
        task = progress.add_task(variant, total=None)
        path = fetch(variant, folder, lambda done, total: progress.update(task, completed=done, total=total))
    out.print(f"{path} is complete. Serve it with: SAM_CHECKPOINT_PATH={path} uv run --extra export imgr serve")


def doctor(
    port: Annotated[int, typer.Option(min=0, max=65535, help="port that `imgr serve` would listen on")] = 8000,
    model_repository: RepositoryOption = None,
) -> None:
    """Tell what this machine lacks to serve."""
    from imgr.configuration import read_settings  # noqa: PLC0415
    from imgr.doctor import State, examine  # noqa: PLC0415

    colours = {State.WELL: "green", State.DOUBTFUL: "yellow", State.FAILED: "red"}
    checks = examine(read_settings(model_repository), port)
    for check in checks:
        out.print(f"[{colours[check.state]}]{check.state}[/] {escape(check.finding)}", soft_wrap=True)
    if any(check.state is State.FAILED for check in checks):
        raise typer.Exit(1)
