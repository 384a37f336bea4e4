"""Follows the model repository, and hands over from one pair to the next."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from frontend_api.errors import InferenceTimeout, NoModelInService, Unavailable
from frontend_api.model.served_model import ServedModel
from frontend_api.model.service import ModelService

log = structlog.stdlib.get_logger("imgr.model")

_HURRIED_SECONDS = 0.2

Prepare = Callable[[ServedModel], Awaitable[None]]


class ModelWatch:
    """Has the model server looked at again and again.

    A newer pair takes over once its encoder has confirmed its identity and `prepare` has ended; the pair before it
    serves meanwhile.

    Args:
        models: what is in service.
        prepare: called with a newer pair before it takes over, such as to have images encoded by it.
        interval: seconds between two looks.
        handover: the most seconds for which a newer pair waits for `prepare`.
    """

    def __init__(self, models: ModelService, prepare: Prepare, *, interval: float, handover: float) -> None:
        self._models = models
        self._prepare = prepare
        self._interval = interval
        self._longest = handover
        self._successor: ServedModel | None = None
        self._handover: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except Exception:  # a watch that ended would leave this replica with the model of that moment
                    log.exception("the model server's answer was not understood")
                await asyncio.sleep(self._pause())
        finally:
            self._stop_handover()
            if self._probing is not None:
                self._probing.cancel()

    async def look(self) -> None:
        """Look once, and begin to hand over where a newer pair is to be had."""
        await self._models.look()
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._models.probe())
        if self._successor != self._models.successor:
            self._stop_handover()
            self._successor = self._models.successor
            if self._successor is not None:
                self._handover = asyncio.create_task(self._hand_over(self._successor))

    def _stop_handover(self) -> None:
        if self._handover is not None:
            self._handover.cancel()

    def _pause(self) -> float:
        try:
            _ = self._models.current
        except NoModelInService:  # somebody waits for it
            return min(self._interval, _HURRIED_SECONDS)
        return self._interval

    async def _hand_over(self, successor: ServedModel) -> None:
        try:
            await self._models.confirm(successor)
            async with asyncio.timeout(self._longest):
                await self._prepare(successor)
        except (TimeoutError, Unavailable, InferenceTimeout):
            pass  # if more is wrong with it, clicks will find out
        except Exception:
            log.exception("a newer model takes over unprepared", version=successor.version)
        await self._models.succeed(successor)
        self._successor = None
