"""Clicks while models are swapped: 8 clients click without pause, and an operator does everything that can be done.

    uv run --group test python -m benchmarks.experiments.swap [--rounds 10] [--minutes 60] [--architecture vit_t]

Both checkpoints are of one architecture with seeded random weights. In each round the second one is exported and
published on the same machine, rolled back, published again, replaced in place by the first one and deleted. Prints
the clicks of each of these times, and their p99 against that of the undisturbed time at the beginning of each round.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from itertools import chain
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import description, summary
from benchmarks.models import Model
from benchmarks.photos import Photo
from benchmarks.subjects import Subject, running
from export import ExportJob
from imgr.repository.layout import MODELS
from imgr.repository.publication import publish
from models.seeded import ARCHITECTURES, write_checkpoint

CLIENTS, IMAGES = 8, 3
QUIET_SECONDS = 6.0  # before each round
SETTLE_SECONDS = 2.0  # after each change


class Clock:
    """What the clicks of each phase took, and which failed."""

    def __init__(self) -> None:
        self.phase = "uploading"
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.failed: list[str] = []
        self.rounds = 0
        self.round_seconds = 0.0

    async def click_on(self, subject: Subject, image_id: str, photo: Photo) -> None:
        """Click until cancelled; a click counts for every phase that it was waited for in."""
        number = 0
        while True:
            phases = {self.phase}
            start, number = time.perf_counter(), number + 1
            try:
                await subject.click(image_id, photo.box(number))
            except aiohttp.ClientError as error:
                self.failed.append(f"{self.phase}: {error}")
            phases.add(self.phase)
            for phase in phases:
                self.seconds[phase].append(time.perf_counter() - start)


class Operator:
    """Changes the models of a running service."""

    def __init__(self, subject: Subject, repository: Path, checkpoint: Path) -> None:
        self._subject = subject
        self._repository = repository
        self._checkpoint = checkpoint

    async def imgr(self, *arguments: str) -> None:
        """Run a command."""
        command = (sys.executable, "-m", "imgr", *arguments, f"--model-repository={self._repository}")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0

    async def export(self) -> None:
        """Export and publish the second checkpoint."""
        await self.imgr("export", f"--checkpoint={self._checkpoint}")

    def newest(self) -> int:
        """Return the newest version's number."""
        return max(int(path.name) for path in (self._repository / MODELS[0]).iterdir() if path.name.isdecimal())

    async def publish(self, source: Path) -> None:
        """Move a copy of a pair in, by hand."""
        version = self.newest() + 1
        for model in MODELS:
            stage = self._repository.parent / model
            await asyncio.to_thread(shutil.copytree, source / model, stage)
            stage.rename(self._repository / model / str(version))

    async def replace(self, source: Path) -> None:
        """Replace the files of the newest version by those of another pair, one after the other."""
        for model in MODELS:
            folder = self._repository / model / str(self.newest())
            await asyncio.to_thread(shutil.copy, source / model / "model.onnx", folder / "new.onnx")
            (folder / "new.onnx").rename(folder / "model.onnx")

    async def delete(self) -> None:
        """Delete the newest version."""
        version = self.newest()
        for model in MODELS:
            shutil.rmtree(self._repository / model / str(version))

    async def served(self) -> tuple[int, str]:
        """Return version and identity of the model in service."""
        async with self._subject.http.get(f"{self._subject.url}/health") as answer:
            model = (await answer.json())["model"] or {"version": 0, "identity": ""}
        return model["version"], model["identity"]

    async def until_served(self, version: int, other_than: str = "") -> str:
        """Wait until a version serves, of another identity than the one given; return its own."""
        while True:
            found, identity = await self.served()
            if found == version and identity != other_than:
                return identity
            await asyncio.sleep(0.05)

    def keep(self, version: int, folder: Path) -> Path:
        """Copy a version out of the repository."""
        for model in MODELS:
            shutil.copytree(self._repository / model / str(version), folder / model)
        return folder


async def round_(operator: Operator, clock: Clock, folder: Path, kept: dict[str, Path]) -> None:
    """Do everything once."""

    async def phase(name: str, change: Callable[[], Awaitable[None]], version: Callable[[], int], old: str = "") -> str:
        clock.phase = name
        await change()
        identity = await operator.until_served(version(), old)
        await asyncio.sleep(SETTLE_SECONDS)
        return identity

    async def nothing() -> None:
        pass

    clock.phase = "before"
    await asyncio.sleep(QUIET_SECONDS)
    clock.phase = "export on the same machine"
    await operator.export()
    second = await phase("takes over", nothing, operator.newest)
    if "second" not in kept:
        kept["second"] = await asyncio.to_thread(operator.keep, operator.newest(), folder / "second")
    await phase("imgr rollback", lambda: operator.imgr("rollback"), lambda: 1)
    await phase("published by hand", lambda: operator.publish(kept["second"]), operator.newest)
    await phase("replaced in place", lambda: operator.replace(kept["first"]), operator.newest, second)
    await phase("deleted", operator.delete, lambda: 1)
    await operator.imgr("prune", "--keep=1")


async def measure(rounds: int, minutes: float, architecture: str, folder: Path) -> Clock:
    """Return what the clicks took, in as many rounds as fit into the time."""
    end = time.monotonic() + 60 * minutes
    checkpoints = [
        write_checkpoint(folder / f"{seed}.pth", ARCHITECTURES[architecture], seed=seed) for seed in range(2)
    ]
    repository = folder / "repository"
    publish(ExportJob(checkpoints[0]), repository)
    clock = Clock()
    async with running("imgr", Model(architecture, checkpoints[0], repository)) as subject:
        operator = Operator(subject, repository, checkpoints[1])
        photos = [Photo("800×534", "medium", seed) for seed in range(IMAGES)]
        ids = [await subject.upload(photo) for photo in photos]
        for image_id in ids:
            await subject.ready(image_id)
        kept = {"first": operator.keep(1, folder / "first")}
        clicks = [
            asyncio.create_task(clock.click_on(subject, ids[n % IMAGES], photos[n % IMAGES])) for n in range(CLIENTS)
        ]
        while clock.rounds < rounds and time.monotonic() + clock.round_seconds < end:
            started = time.monotonic()
            await round_(operator, clock, folder, kept)
            clock.rounds += 1
            clock.round_seconds = time.monotonic() - started
        for task in clicks:
            task.cancel()
        await asyncio.gather(*clicks, return_exceptions=True)
    return clock


def main(
    rounds: Annotated[int, typer.Option(help="how often everything is done")] = 10,
    minutes: Annotated[float, typer.Option(help="no round begins that would last longer")] = 60.0,
    architecture: Annotated[str, typer.Option(help=f"one of {', '.join(ARCHITECTURES)}")] = "vit_t",
) -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("IMGR_TRITON_URL", None)
        clock = asyncio.run(measure(rounds, minutes, architecture, Path(folder)))
    machine = description()
    table = Table(
        "", "clicks", "p50 ms", "p95 ms", "p99 ms", "max ms", "p99 / before",
        title=f"{architecture}, {clock.rounds} rounds, {CLIENTS} clients on {IMAGES} images, {machine['cores']} cores",
    )  # fmt: skip
    quiet = clock.seconds["before"]
    changes = {phase: seconds for phase, seconds in clock.seconds.items() if phase not in ("uploading", "before")}
    before = summary(quiet)["p99"]
    for phase, seconds in {
        "before": quiet,
        **changes,
        "all changes": list(chain.from_iterable(changes.values())),
    }.items():
        row = summary(seconds)
        numbers = (f"{row[key]:.0f}" for key in ("n", "p50", "p95", "p99", "max"))
        table.add_row(phase, *numbers, f"{row['p99'] / before:.1f}")
    console = Console()
    console.print(table)
    console.print(f"failed clicks: {len(clock.failed)}", *clock.failed[:5])


if __name__ == "__main__":
    typer.run(main)
