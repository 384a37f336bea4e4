"""Many clients: throughput, latency under a given load, the decoder's batches, and clicks while others upload."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from benchmarks.floor import Floor
from benchmarks.machine import CORES, summary
from benchmarks.photos import Photo
from benchmarks.progress import Progress
from benchmarks.subjects import Subject

Row = dict[str, Any]
Ids = list[tuple[str, Photo]]
_SIZE, _MASK = "1800×1200", "medium"


async def closed_loop(
    subject: Subject, clients: list[int], images: int, seconds: float, progress: Progress
) -> list[Row]:
    """Let each of so many clients click as soon as its last answer is there, on different images and on one."""
    ids = await _uploaded(subject, images, progress)
    cases = [(count, images) for count in clients for images in {1, min(count, len(ids))}]
    rows = []
    for count, used in progress.track(cases, f"closed loop, {subject.name}"):
        rows.append(
            {"clients": count, "images": used} | await _loaded(subject, _clients(subject, ids[:used], count, seconds))
        )
    return rows


async def open_loop(
    subject: Subject, capacity: float, shares: list[float], seconds: float, progress: Progress
) -> list[Row]:
    """Let clicks arrive at random at a share of `capacity`, in clicks a second, whatever is still unanswered."""
    ids = await _uploaded(subject, 16, progress)
    rows = []
    for share in progress.track(shares, f"open loop, {subject.name}"):
        rows.append({"share": share} | await _loaded(subject, _arrivals(subject, ids, share * capacity, seconds)))
    return rows


async def people(
    subject: Subject, capacity: float, share: float, count: int, seconds: float, progress: Progress
) -> Row:
    """Let so many people click, each looking at an answer for a random time, at a share of `capacity` in all."""
    ids = await _uploaded(subject, count, progress)
    between = count / (share * capacity)
    pause, row = between, Row()
    for part in (seconds / 4, seconds):  # the first finds out how much of the time between two clicks is the answer's
        row = await _loaded(subject, _clients(subject, ids, count, part, pause))
        pause += between - count / row["throughput"]
    return {"clients": count, "share": row["throughput"] / capacity} | row


def floor_cpu_seconds(floor: Floor, rounds: int) -> list[float]:
    """Return the processor seconds of the least work of one click, as the clients above make them, click by click."""
    photo = Photo(_SIZE, _MASK)
    image, embedding = photo.pixels, floor.encode(photo.jpeg)
    floor.click(embedding, image, photo.box(0))
    times = []
    for number in range(rounds):
        start = time.process_time()
        floor.click(embedding, image, photo.box(number))
        times.append(time.process_time() - start)
    return times


async def during_uploads(subject: Subject, clicks: int, progress: Progress) -> Row:
    """Measure one client's clicks on a ready image, then the same while somebody's uploads keep the encoder busy."""
    [(image_id, photo)] = await _uploaded(subject, 1, progress)
    others = [Photo(_SIZE, _MASK, 100 + number) for number in range(8)]
    for other in others:
        other.jpeg  # noqa: B018 - made before the clock runs

    async def pace() -> list[float]:
        times = []
        for number in progress.track(range(clicks), f"clicks and uploads, {subject.name}"):
            start = time.perf_counter()
            await subject.click(image_id, photo.box(number))
            times.append(time.perf_counter() - start)
            await asyncio.sleep(0.05)  # a person looks at the answer
        return times

    async def upload_on() -> None:
        while True:
            for other in others:
                await subject.ready(await subject.upload(other))

    idle = await pace()
    uploading = asyncio.gather(upload_on(), upload_on())  # one encodes while the other uploads
    await asyncio.sleep(1)
    busy = await pace()
    uploading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await uploading
    return {"idle": summary(idle), "uploading": summary(busy)}


async def _uploaded(subject: Subject, count: int, progress: Progress) -> Ids:
    ids = []
    for number in progress.track(range(count), f"uploading to {subject.name}"):
        photo = Photo(_SIZE, _MASK, number)
        ids.append((await subject.upload(photo), photo))
        await subject.ready(ids[-1][0])
        await subject.click(ids[-1][0], photo.box(0))
    return ids


Clicks = Callable[[list[float]], Awaitable[float]]
"""Clicks for a while, adding each one's seconds to a list, and returns how long it lasted."""


async def _loaded(subject: Subject, clicks: Clicks) -> Row:
    """Return throughput, latency, processor seconds by process and the mean batch of some clicks."""
    cpu, runs = subject.processes.cpu_seconds(), await _runs(subject)
    client = time.process_time()
    times: list[float] = []
    seconds = await clicks(times)
    spent = {"client": time.process_time() - client} | {
        role: used - cpu.get(role, 0.0) for role, used in subject.processes.cpu_seconds().items()
    }
    after = await _runs(subject)
    row = {
        "throughput": len(times) / seconds,
        "latency": summary(times),
        "cpu_ms": {role: 1e3 * used / len(times) for role, used in spent.items()},
        "busy_cores": sum(spent.values()) / seconds,
    }
    if after[1] > runs[1]:
        row["batch"] = (after[0] - runs[0]) / (after[1] - runs[1])
    return row


async def _runs(subject: Subject) -> tuple[float, float]:
    return await subject.decoder_runs() if subject.name == "imgr" else (0.0, 0.0)


def _clients(subject: Subject, ids: Ids, count: int, seconds: float, pause: float = 0) -> Clicks:
    """Let so many clients click, each after a random pause of so many seconds on average."""

    async def clicks(times: list[float]) -> float:
        begin = time.perf_counter()

        async def client(number: int) -> None:
            image_id, photo = ids[number % len(ids)]
            random = np.random.default_rng(number)
            while True:
                left = begin + seconds - time.perf_counter()
                await asyncio.sleep(min(left, random.exponential(pause)))
                if (start := time.perf_counter()) >= begin + seconds:
                    break
                await subject.click(image_id, photo.box(len(times)))
                times.append(time.perf_counter() - start)

        await asyncio.gather(*map(client, range(count)))
        return time.perf_counter() - begin

    return clicks


def _arrivals(subject: Subject, ids: Ids, rate: float, seconds: float) -> Clicks:
    async def clicks(times: list[float]) -> float:
        begin = time.perf_counter()
        gaps = np.random.default_rng(0).exponential(1 / rate, int(rate * seconds))

        async def one(number: int, due: float) -> None:
            await asyncio.sleep(begin + due - time.perf_counter())
            image_id, photo = ids[number % len(ids)]
            await subject.click(image_id, photo.box(number))
            times.append(time.perf_counter() - begin - due)  # from when it should have been sent

        await asyncio.gather(*(one(number, due) for number, due in enumerate(np.cumsum(gaps))))
        return time.perf_counter() - begin

    return clicks


def allowed_throughput(cpu_seconds: list[float]) -> float:
    """Return the clicks a second that all cores could answer, of clicks' processor seconds."""
    return CORES / statistics.median(cpu_seconds)
