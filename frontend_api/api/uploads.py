"""``POST /api/upload/image``."""

from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile

from frontend_api.api.dependencies import ServicesDep
from frontend_api.api.schemas import UploadAnswer, error_answers
from frontend_api.storage.image_store import ImageType

router = APIRouter(prefix="/api")


@router.post("/upload/image", responses=error_answers(400, 401, 413, 415, 422, 503))
async def upload_image(
    services: ServicesDep,
    file: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF, APNG, BMP, TIFF or AVIF")],
    image_type: Annotated[ImageType, Form()] = ImageType.ORIGINAL,
) -> UploadAnswer:
    """Store an image. An original is encoded in the background, so that the first click need not wait."""
    # Only now does it take a place: a client may send its form as slowly as it likes.
    with services.upload_places.admit():
        record = await services.uploads.store(await file.read(), file.filename or "unnamed", image_type)
    return UploadAnswer.model_validate(record.model_dump())
