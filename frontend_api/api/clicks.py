"""``POST /api/run``."""

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from frontend_api.api.body import read_fields
from frontend_api.api.dependencies import HeldDep, ServicesDep
from frontend_api.api.paced_response import PacedResponse
from frontend_api.api.schemas import RunAnswer, error_answers, run_request_body
from frontend_api.masks.candidates import PictureFormat
from frontend_api.segmentation.clicks import ScoredCandidate
from frontend_api.segmentation.run_request import RunRequest

router = APIRouter(prefix="/api")


@router.post(
    "/run",
    response_model=RunAnswer,
    responses=error_answers(400, 401, 404, 413, 422, 503, 504),
    openapi_extra=run_request_body(),
)
async def run(request: Request, services: ServicesDep, held: HeldDep) -> Response:
    """Answer a click with SAM's candidates, best score first: three cut-outs and masks unless asked for otherwise."""
    asked = RunRequest.parse(await read_fields(request), services.settings)
    # Only now does it take a place: a client may send its body as slowly as it likes.
    held.enter_context(services.click_places.admit())
    work = asyncio.create_task(services.segmenter.candidates(asked))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return Response(status_code=499)  # nobody reads it
        body = _body(work.result(), asked.format)
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
    held.enter_context(services.answers.admit(len(body)))
    return PacedResponse(body, media_type="application/json")


async def _disconnected(request: Request) -> None:
    """Return once the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _body(candidates: list[ScoredCandidate], picture_format: PictureFormat) -> bytes:
    return orjson.dumps({"results": [_result(scored, picture_format) for scored in candidates]})


def _result(scored: ScoredCandidate, picture_format: PictureFormat) -> dict[str, Any]:
    logits = None if scored.logits is None else {"data": _text(scored.logits), "identity": scored.identity}
    fields = {
        "masked_image": _data_uri(scored.cutout, picture_format),
        "mask": _data_uri(scored.mask, PictureFormat.PNG),
        "score": scored.score,
        "polygons": scored.polygons,
        "rle": scored.rle,
        "logits": logits,
        "measures": scored.measures,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _data_uri(picture: bytes | None, picture_format: PictureFormat) -> orjson.Fragment | None:
    return None if picture is None else _text(b"data:image/" + picture_format.encode() + b";base64," + picture)


def _text(value: bytes) -> orjson.Fragment:
    # Base64 needs no escaping: a fragment spares the scan for characters that do.
    return orjson.Fragment(b'"' + value + b'"')
