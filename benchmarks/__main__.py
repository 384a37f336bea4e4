"""Measures the service against the system it replaces, a peer and the floor.

    uv run python -m benchmarks [--quick] [--model quickstart] [--only clicks --only uploads …]
                                     [--photo 1800×1200 …] [--output FOLDER]

Everything that is compared runs on this machine in one run, turn by turn. Results join those of earlier runs in the
output folder, as JSON, tables and plots; `docs/performance.md` says how to read them.
"""

import asyncio
import os
import signal
import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

if find_spec("litserve") is None:  # what is compared is no dependency of the project
    command = ["uv", "run", "--group", "bench", "python", "-m", "benchmarks"]
    os.execvp("uv", [*command, *sys.argv[1:]])

import typer

from benchmarks import report
from benchmarks.photos import SIZES
from benchmarks.sections import SECTIONS, Run


class Name(StrEnum):
    """The models."""

    QUICKSTART = "quickstart"
    VIT_B = "vit_b"


Section = StrEnum("Section", list(SECTIONS))  # type: ignore[misc]


def main(
    quick: Annotated[bool, typer.Option(help="few repetitions: to see that it works, not to quote")] = False,
    model: Annotated[Name, typer.Option(help="the checkpoint to serve")] = Name.QUICKSTART,
    only: Annotated[list[Section] | None, typer.Option(help="sections to measure; default: all")] = None,
    photo: Annotated[list[str] | None, typer.Option(help="sizes of photos; default: all")] = None,
    output: Annotated[Path | None, typer.Option(help="default: docs/performance, data/benchmarks if quick")] = None,
) -> None:
    """Measure, print the tables, and add to the results in the output folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server outlives us
    output = output or (Path("data", "benchmarks") if quick else Path("docs", "performance"))
    run = Run(model.value, quick, photo or list(SIZES))
    try:
        for section in only or list(Section):
            report.add(output, model.value, section.value, asyncio.run(SECTIONS[section.value](run)), sys.argv[1:])
    finally:
        report.show(output)


typer.run(main)
