"""Exports from the command line."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from export import ExportError, ExportJob, Precision
from export.agreement import Comparison
from imgr.checkpoint import require_checkpoint
from imgr.die_with_parent import die_with_parent, parent_pipe
from imgr.errors import ExportFailed
from imgr.repository.publication import Publication, find_published, publish, republish
from imgr.repository.versions import list_versions


def export_with_progress(console: Console, job: ExportJob, repository: Path) -> Publication:
    """Export a checkpoint and tell how it goes. Raises ExportFailed, RepositoryError."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as display, _failures_translated():
        task = display.add_task("", total=1.0)
        told = replace(
            job,
            progress=lambda step, done: display.update(task, description=step, completed=done),
            report=lambda comparison: console.print(_table(comparison, job.precision)),
        )
        return publish(told, repository)


def make_newest(checkpoint: Path, repository: Path) -> None:
    """See to it that the repository's newest version comes from `checkpoint`. Raises ExportFailed.

    An export runs in a process of its own, which takes PyTorch and its memory with it when it ends.
    """
    require_checkpoint(checkpoint)
    with _failures_translated():
        published = find_published(checkpoint, repository)
        if published is None:
            arguments = [f"--checkpoint={checkpoint}", f"--model-repository={repository}"]
            command = die_with_parent([sys.executable, "-m", "imgr", "export", *arguments])
            with parent_pipe() as stdin:
                run = subprocess.run(command, stdin=stdin, start_new_session=True, check=False)
            if run.returncode:  # it has said why
                raise ExportFailed(f"{checkpoint} could not be exported, so it can't be served")
        elif published.version != list_versions(repository)[0].number:
            republish(published.version, repository)


@contextmanager
def _failures_translated() -> Iterator[None]:
    try:
        yield
    except ExportError as error:
        raise ExportFailed(str(error)) from error
    except ModuleNotFoundError as error:
        raise ExportFailed(
            f"exporting needs {error.name}, which is not installed; run `uv run --extra export imgr …` "
            "with the same command"
        ) from error
    except OSError as error:
        raise ExportFailed(str(error)) from error


def _table(comparison: Comparison, precision: Precision) -> Table:
    title = f"{precision} against fp32, pictures: {comparison.pictures}"
    numbers = ("masks", "mean IoU", "95 % are above", "mean error of scores")
    columns = (Column(number, justify="right") for number in numbers)
    table = Table("prompt", *columns, title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for row in (*comparison.rows, comparison.overall):
        table.add_row(
            row.prompts, str(row.masks), f"{row.mean_iou:.4f}", f"{row.low_iou:.4f}", f"{row.score_error:.4f}"
        )
    return table
