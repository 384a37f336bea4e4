"""Uploads in the object store.

Everything of one image lies under ``images/<id>/``: ``original`` (the uploaded bytes), ``record.json``
(written last, so that an upload is there whole or not at all), ``embeddings/`` and ``objects/``, what searches found.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import structlog
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore
from pydantic import BaseModel, ValidationError

from frontend_api.errors import ImageNotFound, StoreUnavailable
from frontend_api.storage.object_store import is_away

log = structlog.stdlib.get_logger("imgr.store")


class ImageType(StrEnum):
    """What an upload is for."""

    ORIGINAL = "original"
    MASK = "mask"


class ImageRecord(BaseModel):
    """What is known of an upload."""

    image_id: UUID
    type: ImageType
    filename: str
    size: int
    width: int
    height: int
    created_at: datetime


class ImageStore:
    """Uploads by id, with expiry.

    Args:
        store: any obstore store; replicas that share it share the uploads.
        ttl: age at which an upload is gone.
    """

    def __init__(self, store: ObjectStore, ttl: timedelta) -> None:
        self._store = store
        self._ttl = ttl

    def expiry(self, record: ImageRecord) -> datetime:
        """Return when the upload expires."""
        return record.created_at + self._ttl

    async def add(self, record: ImageRecord, data: bytes) -> None:
        """Store an upload. Raises StoreUnavailable."""
        async with self._writing():
            await self._store.put_async(f"images/{record.image_id}/original", data)
            await self._store.put_async(f"images/{record.image_id}/record.json", record.model_dump_json().encode())

    async def record(self, image_id: UUID) -> ImageRecord:
        """Return what is known of an upload. Raises ImageNotFound, StoreUnavailable."""
        try:
            record = ImageRecord.model_validate_json(await self._read(image_id, "record.json"))
        except ValidationError as error:
            log.warning("unreadable image record", image_id=str(image_id))
            raise _unknown(image_id) from error
        if datetime.now(UTC) >= self.expiry(record):
            raise _unknown(image_id)
        return record

    async def original(self, image_id: UUID) -> bytes:
        """Return the uploaded bytes. Raises ImageNotFound, StoreUnavailable."""
        return await self._read(image_id, "original")

    async def embedding(self, image_id: UUID, identity: str) -> bytes | None:
        """Return the stored embedding of an image by one model, None where there is none."""
        try:
            return await self._read(image_id, _embedding_name(identity))
        except ImageNotFound:
            return None

    async def has_embedding(self, image_id: UUID, identity: str) -> bool:
        """Tell whether an embedding is stored. Raises StoreUnavailable."""
        async with _translated_errors():
            try:
                await self._store.head_async(f"images/{image_id}/{_embedding_name(identity)}")
            except (NotFoundError, FileNotFoundError):
                return False
        return True

    async def add_embedding(self, image_id: UUID, identity: str, data: bytes) -> None:
        """Store an embedding. Raises ImageNotFound if its image was deleted meanwhile, StoreUnavailable."""
        await self._add_derived(image_id, _embedding_name(identity), data)

    async def objects(self, image_id: UUID, identity: str, parameters: str) -> bytes | None:
        """Return what one model found in an image with these parameters, None where it was not searched so."""
        try:
            return await self._read(image_id, _objects_name(identity, parameters))
        except ImageNotFound:
            return None

    async def add_objects(self, image_id: UUID, identity: str, parameters: str, data: bytes) -> None:
        """Store what was found. Raises ImageNotFound if the image was deleted meanwhile, StoreUnavailable."""
        await self._add_derived(image_id, _objects_name(identity, parameters), data)

    async def _add_derived(self, image_id: UUID, name: str, data: bytes) -> None:
        path = f"images/{image_id}/{name}"
        await self.record(image_id)
        async with self._writing():
            await self._store.put_async(path, data)
        try:
            await self.record(image_id)
        except ImageNotFound:  # nothing derived may stay
            async with _translated_errors():
                await self._delete([path])
            raise

    async def delete(self, image_id: UUID) -> None:
        """Remove an upload and everything derived from it. Raises ImageNotFound, StoreUnavailable."""
        record = await self.record(image_id)
        folder = f"images/{record.image_id}/"
        last = f"{folder}record.json"  # until it goes, a deletion that failed can be repeated
        async with _translated_errors():
            await self._delete([path for path in await self._paths(folder) if path != last])
            await self._delete([last])
            # What was saved meanwhile saw the record; what is saved from now on does not, and removes itself.
            await self._delete(await self._paths(folder))

    async def expire(self) -> int:
        """Remove every upload older than the time to live; return how many. Raises StoreUnavailable."""
        limit = datetime.now(UTC) - self._ttl
        paths: dict[str, list[str]] = defaultdict(list)
        expired: set[str] = set()
        async with _translated_errors():
            async for page in self._store.list_async("images/"):
                for entry in page:
                    image_id = entry["path"].split("/")[1]
                    paths[image_id].append(entry["path"])
                    if entry["last_modified"] < limit:
                        expired.add(image_id)
            for image_id in expired:
                await self._delete(paths[image_id])
        return len(expired)

    async def begin_sweep(self, period: int) -> bool:
        """Tell whether nobody else has begun to sweep in a period. Raises StoreUnavailable."""
        mark = f"sweeps/{period}"
        first = await self._create(mark)
        if first:
            async with _translated_errors():
                await self._delete([path for path in await self._paths("sweeps/") if path != mark])
        return first

    async def _create(self, path: str) -> bool:
        """Create an empty object; tell whether it was not there: of several replicas one alone is told so."""
        async with self._writing():
            try:
                await self._store.put_async(path, b"", mode="create")
            except AlreadyExistsError:
                return False
            except BaseError as error:  # of a server that knows no conditional writes: there everybody is the first
                log.debug("not created", path=path, error=str(error))
        return True

    async def _read(self, image_id: UUID, name: str) -> bytes:
        async with _translated_errors():
            try:
                answer = await self._store.get_async(f"images/{image_id}/{name}")
                return bytes(await answer.bytes_async())
            except (NotFoundError, FileNotFoundError) as error:
                if await is_away(self._store, error):
                    raise _unavailable() from error
                raise _unknown(image_id) from error

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """Keep from writing into the place of a store that is away: what lands there is gone when it returns."""
        async with _translated_errors():
            if await is_away(self._store):
                raise _unavailable()
            yield
            if await is_away(self._store):
                raise _unavailable()

    async def _paths(self, folder: str) -> list[str]:
        return [entry["path"] async for page in self._store.list_async(folder) for entry in page]

    async def _delete(self, paths: list[str]) -> None:
        for path in paths:
            try:
                await self._store.delete_async(path)
            except (NotFoundError, FileNotFoundError):
                continue  # another replica was faster


def embedding_mark(image_id: UUID, identity: str) -> str:
    """Return the mark of whoever is making the embedding of an image; it goes when the image goes."""
    return f"images/{image_id}/{_embedding_name(identity)}.claim"


def _embedding_name(identity: str) -> str:
    return f"embeddings/{identity.replace('/', '-')}.f32"


def _objects_name(identity: str, parameters: str) -> str:
    return f"objects/{identity.replace('/', '-')}-{parameters}.ndjson"


def _unknown(image_id: UUID) -> ImageNotFound:
    return ImageNotFound(f"no image {image_id}: it was never uploaded, was deleted or has expired; upload it again")


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        log.error("object store failed", error=str(error))
        raise _unavailable() from error


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("the image store cannot be read or written now; try again shortly")
