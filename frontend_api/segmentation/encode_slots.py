"""A bounded number of encodes at once; images somebody waits for go before those uploaded ahead."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the queue. Set `urgent` at any time, as soon as a click waits for the image."""

    urgent: bool
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class EncodeSlots:
    """Hands `slots` out, urgent tickets first, otherwise in order of arrival."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[Ticket] = []

    @property
    def waiting(self) -> int:
        """How many tickets wait for a slot."""
        return len(self._waiting)

    @asynccontextmanager
    async def hold(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for a slot and hold it."""
        if self._free:
            self._free -= 1
        else:
            self._waiting.append(ticket)
            try:
                await ticket.turn
            except asyncio.CancelledError:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
                else:  # the slot had just been handed over
                    self._release()
                raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        ticket = next((ticket for ticket in self._waiting if ticket.urgent), self._waiting[0])
        self._waiting.remove(ticket)
        ticket.turn.set_result(None)
