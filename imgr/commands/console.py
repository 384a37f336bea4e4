"""How commands speak to a person."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from imgr.errors import ImgrError

P = ParamSpec("P")
T = TypeVar("T")

RepositoryOption = Annotated[
    Path | None, typer.Option("--model-repository", help="Triton's model repository [IMGR_MODEL_REPOSITORY]")
]

out = Console(highlight=False)


def in_words(command: Callable[P, T]) -> Callable[P, T]:
    """Let a command end with a sentence and status 1 instead of a traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except ImgrError as error:
            complain(str(error))
            raise typer.Exit(1) from error

    return wrapped


def complain(sentence: str) -> None:
    """Print what is wrong to the standard error."""
    Console(stderr=True).print(f"[bold red]imgr:[/] {escape(sentence)}", soft_wrap=True, highlight=False)
