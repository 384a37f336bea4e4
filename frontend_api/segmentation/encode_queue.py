"""A bounded number of encodes at once; images somebody waits for go before those uploaded ahead."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class _Ticket:
    """A place in the queue."""

    urgent: Callable[[], bool]
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class EncodeQueue:
    """Hands `slots` out, urgent ones first, otherwise in order of arrival."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[_Ticket] = []

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    @asynccontextmanager
    async def hold(self, urgent: Callable[[], bool]) -> AsyncIterator[None]:
        """Wait for a slot and hold it; `urgent` is asked whenever one becomes free."""
        if self._free:
            self._free -= 1
        else:
            ticket = _Ticket(urgent)
            self._waiting.append(ticket)
            try:
                await ticket.turn
            except asyncio.CancelledError:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                elif not ticket.turn.cancelled():  # the slot had just been handed over
                    self._release()
                raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        # A cancelled ticket stays until its coroutine has run; it must not get the slot.
        self._waiting = [ticket for ticket in self._waiting if not ticket.turn.done()]
        if not self._waiting:
            self._free += 1
            return
        ticket = next((ticket for ticket in self._waiting if ticket.urgent()), self._waiting[0])
        self._waiting.remove(ticket)
        ticket.turn.set_result(None)
