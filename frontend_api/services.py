"""Everything a request may need, built and owned by the application's lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from frontend_api.inference import Inference
from frontend_api.metrics import Metrics
from frontend_api.model.progress import Progress
from frontend_api.model.service import ModelService
from frontend_api.model.supervisor import Supervisor
from frontend_api.model.watch import ModelWatch
from frontend_api.segmentation.admission import Admission, AnswerBuffer
from frontend_api.segmentation.clicks import Segmenter
from frontend_api.segmentation.embeddings import Embeddings
from frontend_api.segmentation.everything import Everything
from frontend_api.segmentation.image_encoder import ImageEncoder
from frontend_api.segmentation.mask_decoder import MaskDecoder
from frontend_api.segmentation.patience import PatientInference
from frontend_api.segmentation.pixels import Pixels
from frontend_api.segmentation.uploads import Uploads
from frontend_api.segmentation.workers import Workers
from frontend_api.settings import Settings
from frontend_api.storage.claims import Claims
from frontend_api.storage.image_store import ImageStore
from frontend_api.storage.object_store import open_store
from frontend_api.storage.sweep import sweep
from frontend_api.triton.pool import TritonPool


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the adapter that live as long as the application."""

    settings: Settings
    models: ModelService
    image_store: ImageStore
    pixels: Pixels
    embeddings: Embeddings
    segmenter: Segmenter
    uploads: Uploads
    everything: Everything
    click_places: Admission
    search_places: Admission
    upload_places: Admission
    answers: AnswerBuffer
    metrics: Metrics


@asynccontextmanager
async def open_services(
    settings: Settings,
    metrics: Metrics,
    inference: Inference | None = None,
    supervisor: Supervisor | None = None,
) -> AsyncIterator[Services]:
    """Build the services, run their background tasks, and close them in reverse order.

    Args:
        settings: the adapter's settings.
        metrics: where everything is counted.
        inference: stands in for Triton at `settings.triton_url`.
        supervisor: of that Triton, if it is our own.
    """
    async with AsyncExitStack() as stack:
        if inference is None:
            inference = await stack.enter_async_context(
                TritonPool(
                    settings.triton_url.split(","),
                    settings.triton_timeout_seconds,
                    settings.triton_shared_memory_bytes,
                )
            )
        workers = stack.enter_context(Workers(settings.worker_threads, metrics))
        ttl = timedelta(seconds=settings.image_ttl_seconds)
        objects = open_store(settings.store)
        store = ImageStore(objects, ttl)
        progress = Progress(settings.triton_hang_seconds)
        models = ModelService(
            inference,
            metrics,
            progress,
            patience=settings.model_patience_seconds,
            supervisor=supervisor,
        )
        pixels = Pixels(
            store, workers, metrics, max_bytes=settings.pixel_cache_bytes, max_pixels=settings.max_image_pixels
        )
        patient = PatientInference(inference, progress, settings.model_patience_seconds)
        encoder = ImageEncoder(patient, pixels, workers, metrics, concurrency=settings.encode_concurrency)
        embeddings = Embeddings(
            encoder,
            models,
            store,
            Claims(objects),
            metrics,
            max_bytes=settings.embedding_cache_bytes,
            max_queued=settings.max_queued_encodes,
        )
        stack.push_async_callback(embeddings.aclose)
        watch = ModelWatch(
            models,
            embeddings.prepare,
            interval=settings.model_poll_seconds,
            handover=settings.model_handover_seconds,
        )
        decoder = MaskDecoder(patient, models, embeddings, metrics)
        click_places = Admission("clicks", settings.max_concurrent_clicks, metrics)
        for task in (asyncio.create_task(watch.run()), asyncio.create_task(sweep(store, ttl))):
            stack.push_async_callback(_cancelled, task)
        yield Services(
            settings=settings,
            models=models,
            image_store=store,
            pixels=pixels,
            embeddings=embeddings,
            segmenter=Segmenter(store, pixels, decoder, workers, metrics, timeout=settings.click_timeout_seconds),
            uploads=Uploads(store, pixels, embeddings, models, metrics, max_bytes=settings.max_upload_bytes),
            everything=Everything(
                store,
                models,
                decoder,
                workers,
                click_places,
                max_grid=settings.max_grid,
                concurrency=settings.search_concurrency,
            ),
            click_places=click_places,
            search_places=Admission("searches", settings.max_concurrent_searches, metrics),
            upload_places=Admission("uploads", settings.max_concurrent_uploads, metrics),
            answers=AnswerBuffer(settings.answer_buffer_bytes, metrics),
            metrics=metrics,
        )


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
