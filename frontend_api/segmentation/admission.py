"""Admission control: more work than fits is refused at once instead of queued."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from anyio import CapacityLimiter, WouldBlock

from frontend_api.errors import Saturated
from frontend_api.metrics import Metrics


class Admission:
    """Places for work of one kind.

    Args:
        kind: the plural the client reads and the metric's label, such as ``clicks``.
        limit: how many may be in flight.
        metrics: where the number in flight and the limit are shown.
    """

    def __init__(self, kind: str, limit: int, metrics: Metrics) -> None:
        self._kind = kind
        self._places = CapacityLimiter(limit)
        self._quiet = asyncio.Event()
        self._quiet.set()
        metrics.in_flight.labels(kind).set_function(lambda: self._places.borrowed_tokens)
        metrics.in_flight_limit.labels(kind).set(limit)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place while the work is done. Raises Saturated when none is free."""
        holder = object()
        try:
            self._places.acquire_on_behalf_of_nowait(holder)
        except WouldBlock:
            limit = self._places.total_tokens
            raise Saturated(f"{limit} {self._kind} are in progress already; try again shortly") from None
        self._quiet.clear()
        try:
            yield
        finally:
            self._places.release_on_behalf_of(holder)
            if not self._places.borrowed_tokens:
                self._quiet.set()

    async def quiet(self, seconds: float) -> None:
        """Wait until no place is held, or that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()


class AnswerBuffer:
    """Bytes of answers that clients have not taken yet.

    Args:
        limit: the most in all; a single larger answer has its turn while there is no other.
        metrics: where bytes and limit are shown.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._held = 0
        metrics.in_flight.labels("answer_bytes").set_function(lambda: self._held)
        metrics.in_flight_limit.labels("answer_bytes").set(limit)

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Hold `size` bytes until an answer is taken. Raises Saturated when there is no room for them."""
        if self._held and self._held + size > self._limit:
            raise Saturated(f"answers of {self._held} bytes wait for their clients already; try again shortly")
        self._held += size
        try:
            yield
        finally:
            self._held -= size
