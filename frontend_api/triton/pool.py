"""`Inference` over every Triton there is: the least busy one is asked, and another if that fails."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Self, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from frontend_api.errors import TritonUnavailable, VersionGone
from frontend_api.images.prompts import ModelPrompt
from frontend_api.inference import MODEL_NAMES, Embedding, Masks, ModelName, VersionState
from frontend_api.triton.addresses import addresses_of
from frontend_api.triton.client import TritonClient
from frontend_api.triton.member import Member, States

log = structlog.stdlib.get_logger("imgr.triton")

T = TypeVar("T")


class TritonPool:
    """The Tritons behind some names. Open it as an asynchronous context manager.

    Names are resolved at every call of `versions`, and each address is a Triton of its own, so that
    Tritons may come and go. A request goes to the least busy one that holds the version; if it fails
    there, once more to another.

    Args:
        names: ``host:port`` of HTTP endpoints; a host that resolves to several addresses stands for all.
        timeout: seconds after which an inference is given up.
        shared_memory: bytes of embeddings to share with each Triton that is on this machine.
    """

    def __init__(self, names: Iterable[str], timeout: float, shared_memory: int = 0) -> None:
        self._names = list(names)
        self._timeout = timeout
        self._shared_memory = shared_memory
        self._addresses: dict[str, set[str]] = {}
        self._members: dict[str, Member] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self._members.values():
            await member.close()

    async def versions(self) -> States:
        """Return the state of every version of both models, over all Tritons that answer.

        A version counts as ready while no other is held by more Tritons: while they read a new one from
        the repository, each in its time, all of them go on with the version that they share.
        """
        await self._resolve()
        members = list(self._members.values())
        heard = [states for states in await asyncio.gather(*map(Member.look, members)) if states is not None]
        if not heard:
            raise TritonUnavailable("the model server does not answer; try again shortly")
        holders = Counter(version for member in members for version in member.complete)
        most = max(holders.values(), default=0)

        def state(name: ModelName, version: int) -> VersionState:
            states = [each[name][version] for each in heard if version in each[name]]
            ready = holders[version] == most if version in holders else any(each.ready for each in states)
            return VersionState(ready, next((each.reason for each in states if each.reason), ""))

        return {
            name: {version: state(name, version) for version in sorted({v for each in heard for v in each[name]})}
            for name in MODEL_NAMES
        }

    async def identity(self, model: ModelName, version: int) -> str:
        """Return the identity constant of a model version; all Tritons that hold it must agree."""
        holders = [member for member in self._members.values() if version in member.complete]
        if not holders:
            return await self._ask(version, lambda client: client.identity(model, version))
        answers = await asyncio.gather(
            *(member.send(version, lambda client: client.identity(model, version)) for member in holders),
            return_exceptions=True,
        )
        found = {answer for answer in answers if isinstance(answer, str)}
        if len(found) > 1:
            raise VersionGone(f"the model servers hold different ones: {', '.join(sorted(found))}")
        for error in answers:
            if isinstance(error, BaseException) and not (found and isinstance(error, TritonUnavailable)):
                raise error
        return found.pop()

    async def encode(self, version: int, image: NDArray[np.uint8], size: tuple[int, int]) -> Embedding:
        """Encode an image in the model's frame."""
        return await self._ask(version, lambda client: client.encode(version, image, size))

    async def decode(self, version: int, embedding: Embedding, prompt: ModelPrompt) -> Masks:
        """Decode one prompt on one embedding."""
        return await self._ask(version, lambda client: client.decode(version, embedding, prompt))

    async def _ask(self, version: int, request: Callable[[TritonClient], Awaitable[T]]) -> T:
        """Send a request to the least busy Triton; if that one can't answer, once more to another.

        The only Triton is asked again too: its name may stand for a balancer, or a kept connection may have been old.
        """
        first = self._least_busy(version)
        try:
            return await first.send(version, request)
        except TritonUnavailable as error:
            second = self._least_busy(version)
            if second is first and isinstance(error, VersionGone):
                raise
            return await second.send(version, request)

    def _least_busy(self, version: int) -> Member:
        if not self._members:
            raise TritonUnavailable("the model server is not known yet; try again shortly")
        return min(
            self._members.values(),
            key=lambda member: (
                not member.answers,
                version not in member.complete,
                member.in_flight,
                random.random(),  # noqa: S311 - adapters must not all begin with the same one
            ),
        )

    async def _resolve(self) -> None:
        for name in self._names:
            try:
                self._addresses[name] = await addresses_of(name)
            except (OSError, UnicodeError) as error:  # those known by it remain
                log.warning("a model server's name is not resolved", name=name, error=str(error))
        addresses = set[str]().union(*self._addresses.values())
        if self._members and addresses != self._members.keys():
            log.info("the model servers changed", before=sorted(self._members), now=sorted(addresses))
        for address in addresses - self._members.keys():
            client = TritonClient(address, self._timeout, self._shared_memory)
            self._members[address] = Member(address, client)
        for address in self._members.keys() - addresses:
            await self._members.pop(address).leave()
