"""One client: repeated clicks, uploads and the first click after one, turn by turn with everybody.

    uv run --group test python -m benchmarks.click

measures a repeated click on an 1800×1200 photo against the floor, and the stages of one.
"""

import asyncio
import base64
import io
import time
from collections.abc import Awaitable, Iterable
from itertools import product
from typing import Any

import numpy as np
import orjson
import psutil
from PIL import Image

from benchmarks.floor import Floor
from benchmarks.machine import summary
from benchmarks.models import quickstart
from benchmarks.photos import MASKS, SIZES, Photo
from benchmarks.progress import Progress
from benchmarks.subjects import Subject, running
from benchmarks.tables import show_tables, tables

Row = dict[str, Any]
_REST_SECONDS = 0.1  # before what is timed: the threads of ONNX Runtime and PyTorch spin on after their work


async def repeated_clicks(
    subjects: list[Subject], floor: Floor, photos: list[Photo], rounds: dict[str, int], progress: Progress
) -> list[Row]:
    """Measure clicks on encoded photos, `rounds` by subject; the floor takes as many as imgr."""
    rows = []
    for photo in photos:
        image, embedding = photo.pixels, floor.encode(photo.jpeg)
        ids = {subject.name: await subject.upload(photo) for subject in subjects}
        for subject in subjects:
            await subject.ready(ids[subject.name])
            if subject.name != "baseline" or not rows:  # which takes seconds, and prepares nothing
                answer = await subject.click(ids[subject.name], photo.box(0))
            if subject.name == "imgr":
                shares, size = _shares(answer), len(answer)
        floor.click(embedding, image, photo.box(0))
        times: dict[str, list[float]] = {name: [] for name in ("imgr", "floor", *rounds)}
        for number in progress.track(range(rounds["imgr"]), f"clicks on {photo.size}, {photo.mask} mask"):
            box = photo.box(1 + number)
            for subject in subjects:
                # Whoever takes fewer clicks takes them all along the run.
                if number * rounds[subject.name] % rounds["imgr"] < rounds[subject.name]:
                    times[subject.name].append(await _timed(subject.click(ids[subject.name], box)))
            await asyncio.sleep(_REST_SECONDS)
            start = time.perf_counter()
            floor.click(embedding, image, box)
            times["floor"].append(time.perf_counter() - start)
        ratios = [ours / least for ours, least in zip(times["imgr"], times["floor"], strict=True)]
        rows.append(
            {"photo": photo.size, "mask": photo.mask, "shares": shares, "answer_bytes": size}
            | {"over_floor": float(np.median(ratios))}
            | {name: summary(values) for name, values in times.items() if values}
        )
    return rows


async def uploads(
    subjects: list[Subject], floor: Floor, sizes: list[str], rounds: int, progress: Progress
) -> list[Row]:
    """Measure upload → embedding ready against the encoder alone, and upload → first answer."""
    rows = []
    for size in sizes:
        times: dict[str, list[float]] = {}
        floor.encode(Photo(size, "medium").jpeg)
        for number in progress.track(range(rounds), f"uploads of {size}"):
            photo = Photo(size, "medium", 1 + number)
            photo.jpeg  # noqa: B018 - made before the clock runs
            await asyncio.sleep(_REST_SECONDS)
            start = time.perf_counter()
            floor.encode(photo.jpeg)
            least = time.perf_counter() - start
            times.setdefault("floor ready", []).append(least)
            for subject in subjects:
                if subject.name != "baseline":  # which encodes at each click
                    taken = await _timed(_upload_and_wait(subject, photo, least))
                    times.setdefault(f"{subject.name} ready", []).append(taken)
                taken = await _timed(_upload_and_click(subject, photo))
                times.setdefault(f"{subject.name} first click", []).append(taken)
        rows.append({"photo": size} | {name: summary(values) for name, values in times.items()})
    return rows


def stages(floor: Floor, photos: list[Photo], rounds: int, progress: Progress) -> list[Row]:
    """Measure the processor seconds of each stage of a click, in this process."""
    rows = []
    for photo in progress.track(photos, "stages of a click"):
        image, embedding = photo.pixels, floor.encode(photo.jpeg)
        spent: dict[str, float] = {}
        for number in range(-1, rounds):
            if number == 0:  # the first was to warm up
                spent = {}
            start = time.process_time()
            logits = floor.decode(embedding, image, photo.box(number + 1))
            spent["decoder"] = spent.get("decoder", 0.0) + time.process_time() - start
            for one in logits:
                floor.render(image, one, spent)
        rows.append(
            {"photo": photo.size, "mask": photo.mask}
            | {"cpu_ms": {stage: 1e3 * seconds / rounds for stage, seconds in spent.items()}}
        )
    return rows


def batches(floor: Floor, sizes: list[int], rounds: int, progress: Progress) -> list[Row]:
    """Measure what a click costs in the decoder when several are computed at once, in this process, turn by turn."""
    photo = Photo("1800×1200", "medium")
    image, embedding = photo.pixels, floor.encode(photo.jpeg)
    resident: dict[int, float] = {}
    for batch in sizes:  # from the smallest on, as ONNX Runtime keeps the memory of the largest
        floor.decode(embedding, image, photo.box(0), batch)
        resident[batch] = psutil.Process().memory_info().rss / 1e6
    wall, cpu = dict.fromkeys(sizes, 0.0), dict.fromkeys(sizes, 0.0)
    for _ in progress.track(range(rounds), "batches of the decoder"):
        for batch in sizes:
            start, used = time.perf_counter(), time.process_time()
            floor.decode(embedding, image, photo.box(0), batch)
            wall[batch] += 1e3 * (time.perf_counter() - start) / (batch * rounds)
            cpu[batch] += 1e3 * (time.process_time() - used) / (batch * rounds)
    return [
        {"batch": batch, "ms": wall[batch], "cpu_ms": cpu[batch], "resident_mb": resident[batch]} for batch in sizes
    ]


def all_photos(sizes: Iterable[str] = SIZES) -> list[Photo]:
    """Return one photo of every mask in each of some sizes."""
    return [Photo(size, mask) for size, mask in product(sizes, MASKS)]


async def _timed(work: Awaitable[object]) -> float:
    await asyncio.sleep(_REST_SECONDS)
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def _upload_and_wait(subject: Subject, photo: Photo, least: float) -> None:
    """Ask for the embedding often, but not before nearly so many seconds have gone by as it takes at least."""
    start = time.perf_counter()
    image_id = await subject.upload(photo)
    await asyncio.sleep(0.9 * least - (time.perf_counter() - start))
    await subject.ready(image_id, every=0.01)


async def _upload_and_click(subject: Subject, photo: Photo) -> None:
    await subject.click(await subject.upload(photo), photo.box(0))


def _shares(answer: bytes) -> list[float]:
    """Return how much of the picture the mask of each candidate covers."""
    masks = [result["mask"].partition(",")[2] for result in orjson.loads(answer)["results"]]
    pixels = (np.asarray(Image.open(io.BytesIO(base64.b64decode(mask)))) for mask in masks)
    return [round(float((mask > 127).mean()), 4) for mask in pixels]


async def _against_the_floor() -> None:
    model, progress = quickstart(), Progress()
    floor, photos = Floor(model.repository), all_photos(["1800×1200"])
    async with running("imgr", model) as imgr:
        clicks = await repeated_clicks([imgr], floor, photos, {"imgr": 24}, progress)
    measured = {"clicks": clicks, "stages": stages(floor, photos, 20, progress)}
    show_tables(table for table in tables({model.name: measured}) if "must hold" not in table[0])


if __name__ == "__main__":
    asyncio.run(_against_the_floor())
