"""SAM's image encoder, asked for a bounded number of images at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from uuid import UUID

from frontend_api.errors import InvalidAnswer
from frontend_api.images.preprocessing import model_size, to_model_frame
from frontend_api.inference import Embedding
from frontend_api.metrics import Metrics
from frontend_api.model.served_model import ServedModel
from frontend_api.segmentation.patience import PatientInference
from frontend_api.segmentation.pixels import Pixels
from frontend_api.segmentation.priority_limiter import PriorityLimiter
from frontend_api.segmentation.single_flight import Job
from frontend_api.segmentation.workers import Workers


class ImageEncoder:
    """Encodes stored images, those that somebody waits for first.

    Args:
        concurrency: how many images are sent to the encoder at once.
    """

    def __init__(
        self, inference: PatientInference, pixels: Pixels, workers: Workers, metrics: Metrics, *, concurrency: int
    ) -> None:
        self._inference = inference
        self._pixels = pixels
        self._workers = workers
        self._metrics = metrics
        self._queue = PriorityLimiter(concurrency)
        metrics.encodes_waiting.set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        """How many images wait for their turn."""
        return self._queue.waiting

    @asynccontextmanager
    async def turn(self, job: Job) -> AsyncIterator[None]:
        """Wait for a turn and hold it; what has begun is finished, and kept for the next click."""
        queued = perf_counter()
        async with self._queue.hold(lambda: 0 if job.waiting else 1):
            job.wanted = True
            self._metrics.waited("encode_queue", perf_counter() - queued)
            yield

    async def encode(self, image_id: UUID, model: ServedModel) -> Embedding:
        """Encode an image. The embedding carries the identity of whatever made it.

        Raises ImageNotFound, InvalidAnswer and what the inference raises.
        """
        pixels = await self._pixels.get(image_id)
        frame = await self._workers.run("preprocess", to_model_frame, pixels)
        with self._metrics.stage("encode"):
            embedding = await self._inference.encode(model.version, frame, model_size(*pixels.shape[:2]))
        if not embedding.finite:
            raise InvalidAnswer("sam_encoder", model.version)
        return embedding
