"""One of the Tritons in a pool: what it holds, how busy it is, and whether it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog

from frontend_api.errors import InferenceTimeout, TritonUnavailable, Unavailable, VersionGone
from frontend_api.inference import MODEL_NAMES, ModelName, VersionState
from frontend_api.triton.client import TritonClient

log = structlog.stdlib.get_logger("imgr.triton")

T = TypeVar("T")
States = Mapping[ModelName, Mapping[int, VersionState]]

_LOOK_SECONDS = 5.0  # a Triton that does not list its models within this time gets no requests


class Member:
    """One Triton.

    Attributes:
        answers: whether it did when last asked.
        complete: the versions it holds ready in both models.
        in_flight: requests sent and not yet answered.
    """

    def __init__(self, address: str, client: TritonClient) -> None:
        self.address = address
        self._client = client
        self.answers = True
        self.complete: set[int] = set()
        self.in_flight = 0
        self._left = False

    async def send(self, version: int, request: Callable[[TritonClient], Awaitable[T]]) -> T:
        """Send a request for a version, and remember what the answer tells of this Triton."""
        self.in_flight += 1
        try:
            return await request(self._client)
        except VersionGone:
            self.complete.discard(version)
            raise
        except TritonUnavailable:
            self._heard(answers=False)  # until it is looked at again
            raise
        finally:
            self.in_flight -= 1
            await self._close_if_left()

    async def look(self) -> States | None:
        """Ask which versions it holds; None if it does not answer."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                states = await self._client.versions()
        except (Unavailable, InferenceTimeout, TimeoutError):
            self.complete = set()
            self._heard(answers=False)
            return None
        ready = [{version for version, state in states[name].items() if state.ready} for name in MODEL_NAMES]
        self.complete = set.intersection(*ready)
        self._heard(answers=True)
        return states

    async def leave(self) -> None:
        """Close the connections, as soon as nothing is under way."""
        self._left = True
        await self._close_if_left()

    async def close(self) -> None:
        """Close the connections now."""
        await self._client.close()

    async def _close_if_left(self) -> None:
        if self._left and not self.in_flight:
            await self._client.close()

    def _heard(self, *, answers: bool) -> None:
        if self.answers and not answers:
            log.warning("model server does not answer", address=self.address)
        elif answers and not self.answers:
            log.info("model server answers again", address=self.address)
        self.answers = answers
