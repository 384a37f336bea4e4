"""Decoded images: in memory up to a number of bytes, decoded anew from the store beyond."""

from uuid import UUID

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from frontend_api.errors import ImageNotFound
from frontend_api.images.decoding import Decoded, decode_image, decode_mask
from frontend_api.metrics import Metrics
from frontend_api.segmentation.single_flight import GivenUp, SingleFlight
from frontend_api.segmentation.workers import Workers
from frontend_api.storage.image_store import ImageStore


class Pixels:
    """RGB pixels by image id: uint8 ``(H, W, 3)``, EXIF-oriented."""

    def __init__(
        self, store: ImageStore, workers: Workers, metrics: Metrics, *, max_bytes: int, max_pixels: int
    ) -> None:
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._max_pixels = max_pixels
        self._memory: LRUCache[UUID, NDArray[np.uint8]] = LRUCache(max_bytes, getsizeof=lambda a: a.nbytes)
        self._jobs: SingleFlight[UUID, NDArray[np.uint8]] = SingleFlight()
        metrics.cache_bytes.labels("pixels").set_function(lambda: self._memory.currsize)
        metrics.cache_limit.labels("pixels").set(max_bytes)

    async def get(self, image_id: UUID) -> NDArray[np.uint8]:
        """Return an image's pixels, decoded once for everybody who waits. Raises ImageNotFound, StoreUnavailable."""
        pixels = self._memory.get(image_id)
        self._metrics.cache_lookups.labels("pixels", "computed" if pixels is None else "memory").inc()
        if pixels is not None:
            return pixels
        try:
            return await self._jobs.result(image_id, lambda _: self._load(image_id))
        except GivenUp:
            raise ImageNotFound(f"image {image_id} was deleted while it was being decoded") from None

    async def _load(self, image_id: UUID) -> NDArray[np.uint8]:
        pixels = (await self.decode(await self._store.original(image_id))).pixels
        self.keep(image_id, pixels)
        return pixels

    async def decode(self, data: bytes) -> Decoded:
        """Decode uploaded bytes. Raises UnsupportedImage, ImageTooLarge."""
        return await self._workers.run("decode", decode_image, data, max_pixels=self._max_pixels)

    async def decode_mask(self, data: bytes) -> Decoded:
        """Decode an uploaded mask: uint8 ``(H, W)``. Raises UnsupportedImage, ImageTooLarge."""
        return await self._workers.run("decode", decode_mask, data, max_pixels=self._max_pixels)

    def keep(self, image_id: UUID, pixels: NDArray[np.uint8]) -> None:
        """Keep pixels in memory, unless they alone exceed it."""
        if pixels.nbytes <= self._memory.maxsize:
            self._memory[image_id] = pixels

    def forget(self, image_id: UUID) -> None:
        """Drop an image's pixels from memory, and give up what is being decoded."""
        self._jobs.give_up(image_id)
        self._memory.pop(image_id, None)
