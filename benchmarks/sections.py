"""The sections of a run: which servers each needs and how often it asks them."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks import click, load, models, resources
from benchmarks.floor import Floor
from benchmarks.models import Model
from benchmarks.photos import Photo
from benchmarks.progress import Progress
from benchmarks.subjects import running


@dataclass(frozen=True)
class Run:
    """What to measure, and how thoroughly.

    Attributes:
        name: of the model.
        quick: whether to repeat little.
        sizes: of the photos, in the sections that go through them.
    """

    name: str
    quick: bool
    sizes: list[str]
    progress: Progress = field(default_factory=Progress)

    @property
    def model(self) -> Model:
        """The checkpoint and its graphs."""
        return models.vit_b() if self.name == "vit_b" else models.quickstart()

    def times(self, full: int) -> int:
        """Return how often to do what a full run does `full` times."""
        return max(2, full // 10) if self.quick else full


async def _clicks(run: Run) -> Any:
    model, floor = run.model, Floor(run.model.repository)
    photos = [Photo("1800×1200", "medium")] if run.name == "vit_b" else click.all_photos(run.sizes)
    rounds = {"imgr": run.times(24), "peer": run.times(6), "baseline": 2}
    async with contextlib.AsyncExitStack() as stack:
        subjects = [await stack.enter_async_context(running(name, model)) for name in rounds]
        return await click.repeated_clicks(subjects, floor, photos, rounds, run.progress)


async def _uploads(run: Run) -> Any:
    model, floor = run.model, Floor(run.model.repository)
    async with running("imgr", model) as imgr, running("peer", model) as peer, running("baseline", model) as baseline:
        sizes = ["1800×1200"] if run.name == "vit_b" else run.sizes
        return await click.uploads([imgr, peer, baseline], floor, sizes, run.times(5), run.progress)


async def _load(run: Run) -> Any:
    model, seconds, progress = run.model, 3 if run.quick else 20, run.progress
    floor = Floor(model.repository, spin=False)
    cpu_seconds = load.floor_cpu_seconds(floor, run.times(30))
    async with running("peer", model) as peer:
        peer_rows = await load.closed_loop(peer, [1, 16], run.times(16), seconds, progress)
    async with running("imgr", model) as imgr:
        rows = await load.closed_loop(imgr, [1, 4, 16, 64], run.times(64), seconds, progress)
    cpu_seconds += load.floor_cpu_seconds(floor, run.times(30))  # again: the machine may have changed its pace
    return {"allowed": load.allowed_throughput(cpu_seconds), "closed": rows, "closed_peer": peer_rows}


async def _arrivals(run: Run) -> Any:
    seconds = 5 if run.quick else 40
    async with running("imgr", run.model) as imgr:
        capacity = (await load.closed_loop(imgr, [16], 16, seconds / 4, run.progress))[-1]["throughput"]
        opened = await load.open_loop(imgr, capacity, [0.5, 0.8, 0.95], seconds, run.progress)
        people = await load.people(imgr, capacity, 0.8, 16, seconds, run.progress)
    return {"capacity": capacity, "open": opened, "people": people}


async def _contention(run: Run) -> Any:
    async with running("imgr", run.model) as imgr:
        return await load.during_uploads(imgr, run.times(100), run.progress)


async def _stages(run: Run) -> Any:
    return click.stages(Floor(run.model.repository), click.all_photos(run.sizes), run.times(20), run.progress)


async def _batches(run: Run) -> Any:
    return {
        "rows": click.batches(Floor(run.model.repository, spin=False), [1, 2, 4, 8, 16], run.times(10), run.progress)
    }


async def _wire(run: Run) -> Any:
    async with running("imgr", run.model) as imgr:
        return await resources.wire(imgr, click.all_photos(run.sizes), run.times(10), run.progress)


async def _startup(run: Run) -> Any:
    return await resources.start_up(run.model, run.times(6), run.progress)


async def _memory(run: Run) -> Any:
    async with running("imgr", run.model) as imgr:
        return await resources.memory(imgr, run.times(100), run.progress)


async def _endurance(run: Run) -> Any:
    async with running("imgr", run.model) as imgr:
        return await resources.endurance(imgr, run.times(5000), run.progress)


SECTIONS: dict[str, Callable[[Run], Awaitable[Any]]] = {
    "clicks": _clicks,
    "uploads": _uploads,
    "load": _load,
    "arrivals": _arrivals,
    "contention": _contention,
    "stages": _stages,
    "batches": _batches,
    "wire": _wire,
    "startup": _startup,
    "memory": _memory,
    "endurance": _endurance,
}
