"""Admission control: more work than fits is refused at once instead of queued."""

from collections.abc import Iterator
from contextlib import contextmanager

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
        metrics.in_flight.labels(kind).set_function(lambda: self._places.borrowed_tokens)
        metrics.in_flight_limit.labels(kind).set(limit)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place while the task's work is done. Raises Saturated when none is free."""
        try:
            self._places.acquire_nowait()
        except WouldBlock:
            limit = self._places.total_tokens
            raise Saturated(f"{limit} {self._kind} are in progress already; try again shortly") from None
        try:
            yield
        finally:
            self._places.release()
