"""The command line."""

from importlib.metadata import version
from typing import Annotated

import typer

from imgr.commands import console, repository, service


def _print_version(asked: bool) -> None:
    if asked:
        console.out.print(f"imgr {version('imgr')}")
        raise typer.Exit


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def imgr(
    _: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Interactive segmentation as a service."""


for command in (
    service.serve,
    repository.export,
    service.download,
    repository.models,
    repository.rollback,
    repository.prune,
    repository.reload,
    service.doctor,
):
    app.command()(console.in_words(command))
