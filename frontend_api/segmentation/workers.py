"""The threads that decode images and render masks."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import cv2

from frontend_api.metrics import Metrics
from frontend_api.segmentation.priority_limiter import PriorityLimiter

P = ParamSpec("P")
T = TypeVar("T")

_abandoned: contextvars.ContextVar[threading.Event] = contextvars.ContextVar("abandoned")


class Abandoned(Exception):
    """Nobody waits any more for what a thread was about to do."""


class Workers:
    """A pool of threads, one for each core unless told otherwise.

    Work that is cancelled before it began never runs; other work stops before its next `stage`, and whoever waited
    for it goes on only then: what holds a place while it waits holds it for as long as a thread is busy with it.
    """

    def __init__(self, threads: int | None, metrics: Metrics) -> None:
        threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(threads, "imgr-worker")
        self._limiter = PriorityLimiter(threads + 1)  # one is on the spot when a thread has finished
        cv2.setNumThreads(1)  # the pool is the parallelism; OpenCV's own threads would contend with it
        self._metrics = metrics

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def run(self, stage: str | None, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread and record its time as `stage`, its wait for a thread as ``queue``."""
        return await self.run_ranked(0, stage, partial(work, *args, **kwargs))

    async def run_ranked(self, rank: int, stage: str | None, work: Callable[[], T]) -> T:
        """Run `work` in a thread, after all that waits with a lower rank."""
        queued = perf_counter()
        abandoned = threading.Event()

        def timed() -> T:
            if abandoned.is_set():
                raise Abandoned
            self._metrics.waited("queue", perf_counter() - queued)
            _abandoned.set(abandoned)
            if stage is None:
                return work()
            with self._metrics.stage(stage):
                return work()

        context = contextvars.copy_context()  # what the thread logs and measures carries the request's id
        async with self._limiter.hold(lambda: rank):
            running = asyncio.get_running_loop().run_in_executor(self._pool, context.run, timed)
            running.add_done_callback(lambda done: done.cancelled() or done.exception())  # told, if not to anybody
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                abandoned.set()
                await asyncio.wait([running])
                raise
            finally:
                del running  # else the traceback of its error, which refers to this frame, would keep it alive

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Begin a stage of work that runs in a thread. Raises Abandoned if nobody waits for it any more."""
        if _abandoned.get().is_set():
            raise Abandoned
        return self._metrics.stage(name)
