"""Admission control: more work than fits is refused at once instead of queued."""

from collections.abc import Iterator
from contextlib import contextmanager

from frontend_api.errors import Saturated
from frontend_api.metrics import Metrics


class Admission:
    """Counts work of one kind and refuses what exceeds the limit.

    Args:
        kind: the plural the client reads and the metric's label, such as ``clicks``.
        limit: how many may be in flight.
        metrics: where the number in flight and the limit are shown.
    """

    def __init__(self, kind: str, limit: int, metrics: Metrics) -> None:
        self._kind = kind
        self._limit = limit
        self._in_flight = 0
        self._gauge = metrics.in_flight.labels(kind)
        metrics.in_flight_limit.labels(kind).set(limit)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place while the work is done. Raises Saturated when none is free."""
        if self._in_flight >= self._limit:
            raise Saturated(f"{self._limit} {self._kind} are in progress already; try again shortly")
        self._in_flight += 1
        self._gauge.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self._gauge.set(self._in_flight)
