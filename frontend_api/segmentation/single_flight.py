"""Work that several wait for and that is done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class GivenUp(Exception):
    """The work was cancelled while somebody waited for it."""


@dataclass(eq=False, slots=True)
class Job:
    """How much a piece of work under way is wanted. It does not know its task: see `SingleFlight.result`.

    Attributes:
        waiting: how many wait for it now.
        wanted: whether it is to be finished even if nobody waits.
    """

    waiting: int = 0
    wanted: bool = False


class SingleFlight(Generic[K, T]):
    """Jobs by key. A job is given up when the last who waited for it has gone, unless it is wanted anyway."""

    def __init__(self) -> None:
        self._flights: dict[K, tuple[Job, asyncio.Task[T]]] = {}

    def begin(self, key: K, work: Callable[[Job], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Have the job of `key` done though nobody waits; if there is none under way, `work` begins."""
        job, task = self._flight(key, work)
        job.wanted = True
        return task

    async def result(self, key: K, work: Callable[[Job], Coroutine[Any, Any, T]]) -> T:
        """Wait for the job of `key` and return its result; raises GivenUp, and what the work raises."""
        job, task = self._flight(key, work)
        job.waiting += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise GivenUp from None
            raise
        finally:
            job.waiting -= 1
            if not (job.waiting or job.wanted or task.done()) and self._flights.get(key) == (job, task):
                self.give_up(key)
                await asyncio.wait([task])  # who leaves holds its place until the work has stopped
            # The traceback of what the task raised refers to this frame; with a way back to the task, images and
            # tensors in its other frames would live until the garbage collector comes round.
            del task

    def give_up(self, key: K) -> None:
        """Cancel the job of `key`, if there is one. Whoever comes next begins anew."""
        if flight := self._flights.pop(key, None):
            flight[1].cancel()

    def under_way(self) -> list[K]:
        """Return the keys of the jobs under way."""
        return list(self._flights)

    async def aclose(self) -> None:
        """Cancel all jobs and wait until they have ended."""
        tasks = [task for _, task in self._flights.values()]
        for key in self.under_way():
            self.give_up(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _flight(self, key: K, work: Callable[[Job], Coroutine[Any, Any, T]]) -> tuple[Job, asyncio.Task[T]]:
        if key not in self._flights:
            job = Job()
            task = asyncio.create_task(work(job))
            task.add_done_callback(lambda task: self._done(key, task))
            self._flights[key] = job, task
        return self._flights[key]

    def _done(self, key: K, task: asyncio.Task[T]) -> None:
        if (flight := self._flights.get(key)) and flight[1] is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # whoever waited has got it; if nobody did, it is the work's to tell
