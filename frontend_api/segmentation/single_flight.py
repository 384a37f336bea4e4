"""Work that several wait for and that is done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class GivenUp(Exception):
    """The work was cancelled while somebody waited for it."""


@dataclass(eq=False, slots=True)
class Job(Generic[T]):
    """A piece of work under way.

    Attributes:
        task: does it.
        waiting: how many wait for it now.
        wanted: whether it is to be finished even if nobody waits.
    """

    task: asyncio.Task[T] = field(init=False)
    waiting: int = 0
    wanted: bool = False


class SingleFlight(Generic[K, T]):
    """Jobs by key. A job is given up when the last who waited for it has gone, unless it is wanted anyway."""

    def __init__(self) -> None:
        self._jobs: dict[K, Job[T]] = {}

    def job(self, key: K, work: Callable[[Job[T]], Coroutine[Any, Any, T]]) -> Job[T]:
        """Return the job under way for `key`; if there is none, `work` begins."""
        if key not in self._jobs:
            job: Job[T] = Job()
            job.task = asyncio.create_task(work(job))
            job.task.add_done_callback(lambda task: self._done(key, task))
            self._jobs[key] = job
        return self._jobs[key]

    async def result(self, key: K, work: Callable[[Job[T]], Coroutine[Any, Any, T]]) -> T:
        """Wait for the job of `key` and return its result; raises GivenUp, and what the work raises."""
        job = self.job(key, work)
        job.waiting += 1
        try:
            return await asyncio.shield(job.task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if job.task.cancelled() and current is not None and not current.cancelling():
                raise GivenUp from None
            raise
        finally:
            job.waiting -= 1
            if not (job.waiting or job.wanted or job.task.done()) and self._jobs.get(key) is job:
                self.give_up(key)

    def give_up(self, key: K) -> None:
        """Cancel the job of `key`, if there is one. Whoever comes next begins anew."""
        if job := self._jobs.pop(key, None):
            job.task.cancel()

    def under_way(self) -> list[K]:
        """Return the keys of the jobs under way."""
        return list(self._jobs)

    async def aclose(self) -> None:
        """Cancel all jobs and wait until they have ended."""
        tasks = [job.task for job in self._jobs.values()]
        for key in self.under_way():
            self.give_up(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, key: K, task: asyncio.Task[T]) -> None:
        if (job := self._jobs.get(key)) and job.task is task:
            del self._jobs[key]
        if not task.cancelled():
            task.exception()  # whoever waited has got it; if nobody did, it is the work's to tell
