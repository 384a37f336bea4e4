"""Exports from the command line, with a progress display."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export import Publication, export
from imgr.errors import CannotServe


def export_with_progress(console: Console, checkpoint: Path, repository: Path) -> Publication:
    """Export a checkpoint and tell how it goes. Raises ExportError, CannotServe."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as display:
        task = display.add_task("", total=1.0)
        try:
            publication = export(
                checkpoint,
                repository,
                progress=lambda step, done: display.update(task, description=step, completed=done),
            )
        except ModuleNotFoundError as error:
            raise CannotServe(
                f"exporting needs {error.name}, which is not installed; "
                "run the command as `uv run --extra export imgr …`"
            ) from error
    return publication
