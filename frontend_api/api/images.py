"""``GET`` and ``DELETE /api/images/{image_id}``."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Response

from frontend_api.api.dependencies import ServicesDep
from frontend_api.api.schemas import ImageAnswer, error_answers

router = APIRouter(prefix="/api/images")


@router.get("/{image_id}", responses=error_answers(401, 404, 422, 503))
async def get_image(image_id: UUID, services: ServicesDep) -> ImageAnswer:
    """Return an upload's metadata, and whether its embedding is ready."""
    record = await services.image_store.record(image_id)
    ready = await services.uploads.ready(record)
    return ImageAnswer(**record.model_dump(), expires_at=services.image_store.expiry(record), embedding_ready=ready)


@router.delete(
    "/{image_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=error_answers(401, 404, 422, 503),
)
async def delete_image(image_id: UUID, services: ServicesDep) -> None:
    """Remove an upload and everything derived from it."""
    await services.uploads.delete(image_id)
