"""Embeddings: from memory, else from the store, else from the encoder — each image once per model."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Literal
from uuid import UUID

import numpy as np
import structlog
from cachetools import LRUCache
from numpy.typing import NDArray

from frontend_api.errors import (
    ImageNotFound,
    InferenceTimeout,
    InvalidAnswer,
    ServiceError,
    StoreUnavailable,
    Unavailable,
)
from frontend_api.inference import EMBEDDING_BYTES, EMBEDDING_SHAPE, Embedding
from frontend_api.metrics import Metrics
from frontend_api.model.served_model import ServedModel
from frontend_api.model.service import ModelService
from frontend_api.segmentation.image_encoder import ImageEncoder
from frontend_api.segmentation.single_flight import GivenUp, Job, SingleFlight
from frontend_api.storage.claims import Claim, Claims
from frontend_api.storage.image_store import ImageStore, embedding_mark

log = structlog.stdlib.get_logger("imgr.embeddings")

_IN_USE_SECONDS = 60.0
Key = tuple[UUID, str]
Source = Literal["store", "computed"]
Made = tuple[Embedding, Source]


class Embeddings:
    """Embeddings by image and model identity.

    Args:
        max_bytes: memory for embeddings, 4 MiB each.
        max_queued: how many uploads may wait to be encoded in the background.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        models: ModelService,
        store: ImageStore,
        claims: Claims,
        metrics: Metrics,
        *,
        max_bytes: int,
        max_queued: int,
    ) -> None:
        self._encoder = encoder
        self._models = models
        self._store = store
        self._claims = claims
        self._metrics = metrics
        self._max_queued = max_queued
        self._memory: LRUCache[Key, NDArray[np.float32]] = LRUCache(max_bytes, getsizeof=lambda a: a.nbytes)
        metrics.cache_bytes.labels("embedding").set_function(lambda: self._memory.currsize)
        metrics.cache_limit.labels("embedding").set(max_bytes)
        metrics.encodes_waiting_limit.set(max_queued)
        self._in_use: OrderedDict[UUID, float] = OrderedDict()  # when an image was last clicked or uploaded
        # Half of what fits into memory: when their successors are prepared, those of the pair that serves must stay.
        self._most_in_use = max_bytes // EMBEDDING_BYTES // 2
        self._jobs: SingleFlight[Key, Made] = SingleFlight()
        self._saving: set[asyncio.Task[None]] = set()

    async def get(self, image_id: UUID, model: ServedModel) -> Embedding:
        """Return the embedding of an image by `model`, waiting for the encoder if need be.

        The embedding carries the identity of whatever really made it, which is not the model's if the
        operator has just replaced files. Raises ImageNotFound and what the inference raises.
        """
        self._use(image_id)
        values = self._memory.get((image_id, model.identity))
        if values is not None:
            self._metrics.cache_lookups.labels("embedding", "memory").inc()
            return Embedding(values, model.identity)
        try:
            embedding, source = await self._jobs.result((image_id, model.identity), self._work(image_id, model))
        except GivenUp:
            raise ImageNotFound(f"image {image_id} was deleted while it was being encoded") from None
        self._metrics.cache_lookups.labels("embedding", source).inc()
        return embedding

    def prefetch(self, image_id: UUID) -> None:
        """Encode an image in the background, unless too many wait already or no model is in service."""
        try:
            model = self._models.current
        except ServiceError:
            return
        self._use(image_id)
        if self._encoder.waiting < self._max_queued:
            self._begin(image_id, model)

    async def prepare(self, model: ServedModel) -> None:
        """Have the images in use encoded by a model that is about to serve, those used last about first.

        Otherwise every one of them would cost its next click an encode.
        """
        since = monotonic() - _IN_USE_SECONDS
        images = [image_id for image_id, used in reversed(self._in_use.items()) if used > since]
        missing = [image_id for image_id in images if (image_id, model.identity) not in self._memory]
        if missing:
            await asyncio.wait([self._begin(image_id, model) for image_id in missing])

    async def ready(self, image_id: UUID, model: ServedModel) -> bool:
        """Tell whether a click would find the embedding without the encoder."""
        key = (image_id, model.identity)
        return key in self._memory or await self._store.has_embedding(*key)

    def forget(self, image_id: UUID) -> None:
        """Drop an image's embeddings from memory, and whatever is being made of it."""
        self._in_use.pop(image_id, None)
        for key in [key for key in self._memory if key[0] == image_id]:
            del self._memory[key]
        for key in [key for key in self._jobs.under_way() if key[0] == image_id]:
            self._jobs.give_up(key)

    async def aclose(self) -> None:
        """Give up what is being made, finish storing what was made."""
        await self._jobs.aclose()
        await asyncio.gather(*self._saving, return_exceptions=True)

    def _use(self, image_id: UUID) -> None:
        self._in_use[image_id] = monotonic()
        self._in_use.move_to_end(image_id)
        if len(self._in_use) > self._most_in_use:
            self._in_use.popitem(last=False)

    def _begin(self, image_id: UUID, model: ServedModel) -> asyncio.Task[Made]:
        """Have an embedding made though nobody waits for it."""
        return self._jobs.begin((image_id, model.identity), self._work(image_id, model))

    def _work(self, image_id: UUID, model: ServedModel) -> Callable[[Job], Coroutine[Any, Any, Made]]:
        async def work(job: Job) -> Made:
            try:
                return await self._make(image_id, model, job)
            except Exception as error:
                log.warning("no embedding", image_id=str(image_id), error=str(error))
                if isinstance(error, InvalidAnswer):
                    await self._models.examine(model)
                raise

        return work

    async def _make(self, image_id: UUID, model: ServedModel, job: Job) -> Made:
        mark = embedding_mark(image_id, model.identity)
        while True:
            if (stored := await self._stored(image_id, model)) is not None:
                return stored, "store"
            async with self._encoder.turn(job):
                claim = await self._claims.take(mark)
                if claim is not None:
                    return await self._encode(image_id, model, claim)
            await self._claims.ended(mark)

    async def _encode(self, image_id: UUID, model: ServedModel, claim: Claim) -> Made:
        """Encode an image that no other replica is encoding, unless one has just done so."""
        try:
            if (stored := await self._stored(image_id, model)) is not None:
                await claim.give_back()
                return stored, "store"
            embedding = await self._encoder.encode(image_id, model)
        except BaseException:
            await claim.give_back()
            raise
        self._keep(image_id, embedding)
        saving = asyncio.create_task(self._save(image_id, embedding, claim))  # the click need not wait for the store
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)
        if embedding.identity != model.identity:
            log.warning("another encoder answered", expected=model.identity, found=embedding.identity)
            with contextlib.suppress(Unavailable, InferenceTimeout):
                await self._models.refresh(model)
        return embedding, "computed"

    async def _stored(self, image_id: UUID, model: ServedModel) -> Embedding | None:
        data = await self._store.embedding(image_id, model.identity)
        if data is None or len(data) != EMBEDDING_BYTES:
            return None
        embedding = Embedding(np.frombuffer(data, "<f4").reshape(EMBEDDING_SHAPE), model.identity)
        self._keep(image_id, embedding)
        return embedding

    def _keep(self, image_id: UUID, embedding: Embedding) -> None:
        if embedding.values.nbytes <= self._memory.maxsize:
            self._memory[image_id, embedding.identity] = embedding.values

    async def _save(self, image_id: UUID, embedding: Embedding, claim: Claim) -> None:
        """Store an embedding; losing it costs another encode, no more."""
        try:
            await self._store.add_embedding(image_id, embedding.identity, embedding.values.astype("<f4").tobytes())
        except (ImageNotFound, StoreUnavailable) as error:
            log.warning("embedding not stored", image_id=str(image_id), error=str(error))
        finally:
            await claim.give_back()
