"""Who of the replicas that share a store is making something: told by a mark in that store."""

import asyncio
import contextlib
from time import monotonic

import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore

from frontend_api.storage.object_store import is_away

log = structlog.stdlib.get_logger("imgr.store")

_RENEW_SECONDS = 2.0
_DEAD_SECONDS = 6.0  # who has not renewed its mark for so long has died
_LOOK_SECONDS = 0.25


class Claim:
    """A mark that is renewed until it is given back."""

    def __init__(self, store: ObjectStore, path: str) -> None:
        self._store = store
        self._path = path
        self._renewing = asyncio.create_task(self._renew())

    async def give_back(self) -> None:
        """Remove the mark."""
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)
        with contextlib.suppress(BaseError, OSError):
            await self._store.delete_async(self._path)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            with contextlib.suppress(BaseError, OSError):
                if not await is_away(self._store):
                    await self._store.put_async(self._path, b"")


class Claims:
    """Claims on what is made once for all replicas. What the store can't tell is taken for a free claim."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def take(self, path: str) -> Claim | None:
        """Return a claim on the mark `path`, None while another replica has it."""
        try:
            if not await is_away(self._store):
                await self._store.put_async(path, b"", mode="create")
        except AlreadyExistsError:
            return None
        except (BaseError, OSError) as error:  # also of a server that knows no conditional writes
            log.debug("not claimed", path=path, error=str(error))
        return Claim(self._store, path)

    async def ended(self, path: str) -> None:
        """Wait until the claim on `path` is given back, or whoever held it has died."""
        renewed, since = None, monotonic()
        while True:
            try:
                seen = (await self._store.head_async(path))["last_modified"]
                if seen != renewed:
                    renewed, since = seen, monotonic()
                elif monotonic() - since > _DEAD_SECONDS:
                    await self._store.delete_async(path)
                    return
            except (NotFoundError, FileNotFoundError):
                return
            except (BaseError, OSError) as error:
                log.debug("a claim can't be looked at", path=path, error=str(error))
            await asyncio.sleep(_LOOK_SECONDS)
