"""What the service takes beside time: start-up, memory, bytes on the wire."""

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.machine import summary
from benchmarks.models import Model
from benchmarks.photos import Photo
from benchmarks.progress import Progress
from benchmarks.subjects import Subject, running

Row = dict[str, Any]
Samples = dict[str, dict[str, float]]


async def start_up(model: Model, rounds: int, progress: Progress) -> Row:
    """Measure from the command to its first answered click, upload and encoding included."""
    ready, first_click = [], []
    photo = Photo("800×534", "medium")
    photo.jpeg  # noqa: B018 - made before the clock runs
    for _ in progress.track(range(rounds), "starting imgr serve"):
        start = time.perf_counter()
        async with running("imgr", model) as subject:
            ready.append(time.perf_counter() - start)
            await subject.click(await subject.upload(photo), photo.box(0))
            first_click.append(time.perf_counter() - start)
    return {"ready": summary(ready), "first_click": summary(first_click)}


async def memory(subject: Subject, uploads: int, progress: Progress) -> Samples:
    """Return resident memory in MB by process: idle, and after uploads of 12 megapixels."""
    samples = {"idle": subject.processes.resident_mb()}
    pictures = [Photo("4000×3000", "medium", number) for number in range(4)]
    for number in progress.track(range(uploads), "uploading 12 megapixels"):
        await subject.ready(await subject.upload(pictures[number % len(pictures)]))
    return samples | {f"{uploads} uploads": subject.processes.resident_mb()}


async def endurance(subject: Subject, clicks: int, progress: Progress) -> Samples:
    """Return resident memory in MB by process, ten times during the clicks of four clients."""
    photos = [Photo("800×534", mask) for mask in ("small", "medium")]
    ids = [await subject.upload(photo) for photo in photos]
    samples = {}
    numbers: Iterator[int]

    async def client() -> None:
        for number in numbers:
            await subject.click(ids[number % 2], photos[number % 2].box(number))

    for part in progress.track(range(1, 11), f"{clicks} clicks"):
        numbers = iter(range(clicks // 10))
        await asyncio.gather(*(client() for _ in range(4)))
        samples[f"{part * clicks // 10} clicks"] = subject.processes.resident_mb()
    return samples


async def wire(subject: Subject, photos: list[Photo], clicks: int, progress: Progress) -> list[Row]:
    """Count the bytes of a click on each hop."""
    rows = []
    for photo in progress.track(photos, "bytes of a click"):
        image_id = await subject.upload(photo)
        await subject.ready(image_id)
        await subject.click(image_id, photo.box(0))
        before = _socket_bytes(subject.triton_http)
        answers = [await subject.click(image_id, photo.box(number)) for number in range(clicks)]
        sent, received = (now - then for now, then in zip(_socket_bytes(subject.triton_http), before, strict=True))
        rows.append(
            {"photo": photo.size, "mask": photo.mask, "answer": sum(map(len, answers)) / clicks}
            | {"to_triton": sent / clicks, "from_triton": received / clicks}
        )
    return rows


def _socket_bytes(port: int) -> tuple[int, int]:
    """Return the bytes sent to and received from a port of this machine over the connections that are open."""
    text = subprocess.run(["ss", "-tinH", f"dport = :{port}"], capture_output=True, text=True, check=True).stdout
    sent, received = (sum(map(int, re.findall(rf"\b{name}:(\d+)", text))) for name in ("bytes_acked", "bytes_received"))
    return sent, received
