"""The threads that decode images and render masks."""

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import cv2

from frontend_api.metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """A pool of threads, one for each core unless told otherwise. Work that is cancelled before it began never runs."""

    def __init__(self, threads: int | None, metrics: Metrics) -> None:
        self._pool = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), "imgr-worker")
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
        queued = perf_counter()

        def timed() -> T:
            self._metrics.waited("queue", perf_counter() - queued)
            if stage is None:
                return work(*args, **kwargs)
            with self._metrics.stage(stage):
                return work(*args, **kwargs)

        context = contextvars.copy_context()  # what the thread logs and measures carries the request's id
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, timed)
