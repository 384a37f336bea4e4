"""A bounded number at once, and among those who wait not always the first."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class _Ticket:
    """A place in the queue."""

    rank: Callable[[], int]
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class PriorityLimiter:
    """As AnyIO's `CapacityLimiter`, which knows only the order of arrival, but the lowest rank goes first."""

    def __init__(self, tokens: int) -> None:
        self._free = tokens
        self._waiting: list[_Ticket] = []

    @property
    def waiting(self) -> int:
        """How many wait for a token."""
        return len(self._waiting)

    @asynccontextmanager
    async def hold(self, rank: Callable[[], int]) -> AsyncIterator[None]:
        """Wait for a token and hold it; `rank` is asked whenever one becomes free."""
        if self._free:
            self._free -= 1
        else:
            ticket = _Ticket(rank)
            self._waiting.append(ticket)
            try:
                await ticket.turn
            except asyncio.CancelledError:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                elif not ticket.turn.cancelled():  # the token had just been handed over
                    self._release()
                raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        # A cancelled ticket stays until its coroutine has run; it must not get the token.
        self._waiting = [ticket for ticket in self._waiting if not ticket.turn.done()]
        if not self._waiting:
            self._free += 1
            return
        ticket = min(self._waiting, key=lambda ticket: ticket.rank())  # among equals the first
        self._waiting.remove(ticket)
        ticket.turn.set_result(None)
