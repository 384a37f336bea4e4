"""``POST /api/images/{image_id}/everything``."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Body, Response
from fastapi.responses import StreamingResponse

from frontend_api.api.dependencies import HeldDep, ServicesDep
from frontend_api.api.schemas import error_answers
from frontend_api.errors import ServiceError
from frontend_api.segmentation.everything_request import EverythingRequest

router = APIRouter(prefix="/api/images")

_KIND = "application/x-ndjson"
_EXAMPLE = (
    '{"progress": 1.0}\n'
    '{"object": {"score": 0.97, "point": [112.5, 75.0], '
    '"measures": {"bbox": [10, 10, 50, 30], "area": 1500, "stability": 0.98}, '
    '"rle": {"size": [1200, 1800], "counts": "…"}}}\n'
    '{"done": {"objects": 1, "identity": "vit_b/fp32/3f9a5c0e1b2d4f68"}}\n'
)


@router.post(
    "/{image_id}/everything",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Lines of JSON", "content": {_KIND: {"example": _EXAMPLE}}},
        **error_answers(400, 401, 404, 413, 422, 503, 504),
    },
)
async def find_everything(
    image_id: UUID,
    services: ServicesDep,
    held: HeldDep,
    asked: Annotated[EverythingRequest | None, Body()] = None,
) -> Response:
    """Find all objects of a photo; answers lines of JSON: progress, each object, best score first, and a last `done`.

    What fails after the first line is told in a last line `{"error": "…"}`. The search ends when its client goes.
    """
    held.enter_context(services.search_places.admit())
    lines = services.everything.lines(image_id, asked or EverythingRequest())
    first = await anext(lines)  # what fails until here is told by the status
    return StreamingResponse(_told(first, lines), media_type=_KIND)


async def _told(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    try:
        async for line in lines:
            yield line
    except ServiceError as error:
        yield orjson.dumps({"error": str(error)}) + b"\n"
