"""``POST /api/upload/image``."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, File, Form, UploadFile

from frontend_api.api.dependencies import KeyBeforeBody, ServicesDep
from frontend_api.api.schemas import UploadAnswer, error_answers
from frontend_api.errors import ImageTooLarge
from frontend_api.images.decoding import decode_mask, probe_image
from frontend_api.storage.images import ImageRecord, ImageType

router = APIRouter(prefix="/api", route_class=KeyBeforeBody)


@router.post("/upload/image", responses=error_answers(400, 401, 413, 415, 422, 503))
async def upload_image(
    services: ServicesDep,
    file: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, APNG, BMP, TIFF or AVIF")],
    image_type: Annotated[ImageType, Form()] = ImageType.ORIGINAL,
) -> UploadAnswer:
    """Store an image. An original is encoded in the background, so that the first click need not wait."""
    limits = services.settings
    # Only now does it take a place: a client may send its form as slowly as it likes.
    with services.uploads.admit():
        data = await file.read()
        if len(data) > limits.max_upload_bytes:
            raise ImageTooLarge(f"the file has {len(data)} bytes; the limit is {limits.max_upload_bytes}")
        info = await services.workers.run(None, probe_image, data, max_pixels=limits.max_image_pixels)
        if image_type is ImageType.ORIGINAL:
            pixels = await services.pixels.decode(data)
        else:
            await services.workers.run("decode", decode_mask, data, max_pixels=limits.max_image_pixels)
        record = ImageRecord(
            image_id=uuid4(),
            type=image_type,
            filename=_displayable(file.filename or "unnamed"),
            size=len(data),
            width=info.width,
            height=info.height,
            format=info.format,
            created_at=datetime.now(UTC),
        )
        with services.metrics.stage("store"):
            await services.images.add(record, data)
        services.metrics.uploads.labels(info.format).inc()
        if image_type is ImageType.ORIGINAL:
            services.pixels.keep(record.image_id, pixels)
            services.embeddings.prefetch(record.image_id)
    return UploadAnswer.model_validate(record.model_dump())


def _displayable(filename: str) -> str:
    """Return a client's file name so that it can be stored and sent back as JSON."""
    return filename[:255].encode("utf-8", "replace").decode()
