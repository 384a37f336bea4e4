"""Photos and masks on their way in, and out again."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from frontend_api.errors import ImageTooLarge, NoModelInService
from frontend_api.metrics import Metrics
from frontend_api.model.service import ModelService
from frontend_api.segmentation.embeddings import Embeddings
from frontend_api.segmentation.pixels import Pixels
from frontend_api.storage.image_store import ImageRecord, ImageStore, ImageType

_LONGEST_NAME = 255


class Uploads:
    """Uploads, checked before they are stored and forgotten whole.

    Args:
        max_bytes: of a file.
    """

    def __init__(
        self,
        store: ImageStore,
        pixels: Pixels,
        embeddings: Embeddings,
        models: ModelService,
        metrics: Metrics,
        *,
        max_bytes: int,
    ) -> None:
        self._store = store
        self._pixels = pixels
        self._embeddings = embeddings
        self._models = models
        self._metrics = metrics
        self._max_bytes = max_bytes

    async def store(self, data: bytes, filename: str, kind: ImageType) -> ImageRecord:
        """Store an upload that can be decoded; an original is encoded in the background, ahead of its first click.

        Raises ImageTooLarge, UnsupportedImage, StoreUnavailable.
        """
        if len(data) > self._max_bytes:
            raise ImageTooLarge(f"the file has {len(data)} bytes; the limit is {self._max_bytes}")
        decode = self._pixels.decode if kind is ImageType.ORIGINAL else self._pixels.decode_mask
        pixels, picture_format = await decode(data)
        height, width = pixels.shape[:2]
        record = ImageRecord(
            image_id=uuid4(),
            type=kind,
            # So that it can be stored and sent back as JSON.
            filename=filename[:_LONGEST_NAME].encode("utf-8", "replace").decode(),
            size=len(data),
            width=width,
            height=height,
            created_at=datetime.now(UTC),
        )
        with self._metrics.stage("store"):
            await self._store.add(record, data)
        self._metrics.uploads.labels(picture_format).inc()
        if kind is ImageType.ORIGINAL:
            self._pixels.keep(record.image_id, pixels)
            self._embeddings.prefetch(record.image_id)
        return record

    async def ready(self, record: ImageRecord) -> bool:
        """Tell whether a click on an upload would be answered without the encoder. Raises StoreUnavailable."""
        try:
            model = self._models.current
        except NoModelInService:
            return False
        return record.type is ImageType.ORIGINAL and await self._embeddings.ready(record.image_id, model)

    async def delete(self, image_id: UUID) -> None:
        """Remove an upload and everything derived from it. Raises ImageNotFound, StoreUnavailable."""
        try:
            await self._store.delete(image_id)
        finally:
            self._embeddings.forget(image_id)
            self._pixels.forget(image_id)
