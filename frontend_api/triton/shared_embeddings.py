"""Embeddings in memory that a Triton on this machine reads, so that no click has to carry its 4 MiB.

Triton's extension for system shared memory:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_shared_memory.html
"""

import asyncio
import contextlib
import mmap
import os
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import numpy as np
import structlog
from numpy.typing import NDArray
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from frontend_api.errors import RegionUnknown
from frontend_api.inference import EMBEDDING_BYTES, EMBEDDING_SHAPE

log = structlog.stdlib.get_logger("imgr.triton")

_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory
_SPARE = 4  # Triton's Python backend needs shared memory too: so many times ours must be free
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where Triton finds an embedding: `offset` bytes into a region that it knows by name."""

    region: str
    offset: int


@dataclass(eq=False, slots=True)
class _Slot:
    offset: int
    owner: weakref.ref[NDArray[np.float32]]
    readers: int = 0


class _Region:
    """Slots of an embedding each, those used last at the end."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._slots: OrderedDict[int, _Slot] = OrderedDict()
        self._free = list(range(0, len(memory), EMBEDDING_BYTES))

    def slot(self, values: NDArray[np.float32]) -> _Slot | None:
        """Return the slot that holds `values`, filling one that nobody reads; None if there is none."""
        key = id(values)
        if key in self._slots:
            self._slots.move_to_end(key)
            return self._slots[key]
        if not self._free:
            idle = next((key for key, slot in self._slots.items() if not slot.readers), None)
            if idle is None:
                return None
            self._release(idle)
        slot = _Slot(self._free.pop(), weakref.ref(values, lambda _: self._release(key)))
        np.copyto(np.ndarray(EMBEDDING_SHAPE, np.float32, self._memory, slot.offset), values)
        self._slots[key] = slot
        return slot

    def _release(self, key: int) -> None:
        self._free.append(self._slots.pop(key).offset)


class SharedEmbeddings:
    """The embeddings clicked last, in one region of shared memory.

    Args:
        client: of the Triton that is to read them. If it can't, requests carry their embeddings.
        size: of the region in bytes; without room for one embedding nothing is shared.
    """

    def __init__(self, client: InferenceServerClient, size: int) -> None:
        self._client = client
        self._size = size // EMBEDDING_BYTES * EMBEDDING_BYTES
        self._name = f"imgr-embeddings-{uuid4().hex}"
        self._region: _Region | None = None
        self._registering = asyncio.Lock()

    @asynccontextmanager
    async def lend(self, values: NDArray[np.float32]) -> AsyncIterator[Place | None]:
        """Tell where Triton finds an embedding while the context is open; None if the request must carry it.

        Raises what the client raises if Triton is not there.
        """
        async with self._registering:
            if self._size and self._region is None:
                self._region = await self._registered()
        region = self._region
        slot = None if region is None else region.slot(values)
        if slot is None:
            yield None
            return
        slot.readers += 1
        try:
            yield Place(self._name, slot.offset)
        except RegionUnknown:
            if self._region is region:  # else another request has had it replaced, and the new one is in use
                self._region = None
            raise
        finally:
            slot.readers -= 1

    async def close(self) -> None:
        """Have Triton let go of the region."""
        if self._region is not None:
            with contextlib.suppress(InferenceServerException, aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._client.unregister_system_shared_memory(self._name)

    async def _registered(self) -> _Region | None:
        """Make a region and have Triton map it; its file is gone as soon as both have."""
        path = _FOLDER / self._name
        try:
            memory = _reserved(path, self._size)
            await self._client.unregister_system_shared_memory(self._name)
            await self._client.register_system_shared_memory(self._name, f"/{self._name}", self._size)
        except (aiohttp.ClientError, TimeoutError):  # Triton may answer the next time
            raise
        except (InferenceServerException, OSError) as error:
            log.info("clicks carry their embeddings to Triton", reason=str(error))
            self._size = 0
            return None
        finally:
            path.unlink(missing_ok=True)
        return _Region(memory)


def _reserved(path: Path, size: int) -> mmap.mmap:
    """Return memory of so many bytes that is really there; else a write to it could end the process."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        status = os.fstatvfs(file)
        if status.f_bavail * status.f_frsize < _SPARE * size:
            raise OSError(f"{path.parent} has less than {_SPARE * size >> 20} MiB to spare")
        os.posix_fallocate(file, 0, size)
        return mmap.mmap(file, size)
    finally:
        os.close(file)
