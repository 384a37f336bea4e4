"""Everything there is in a photo: SAM is asked at each point of a grid."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from frontend_api.errors import ImageNotFound, InvalidRequest, NoModelInService, StoreUnavailable
from frontend_api.images.prompts import Prompt, to_model_prompt
from frontend_api.masks.proposals import Proposal, point_grid, propose, without_duplicates
from frontend_api.model.service import ModelService
from frontend_api.segmentation.admission import Admission
from frontend_api.segmentation.everything_request import EverythingRequest, Outline
from frontend_api.segmentation.mask_decoder import MaskDecoder
from frontend_api.segmentation.workers import Workers
from frontend_api.storage.image_store import ImageRecord, ImageStore, ImageType

_LAST = 2**62  # rank of the work: clicks of any size go first
_PATIENCE_SECONDS = 1.0


class Everything:
    """Searches photos for all objects.

    Args:
        store: of the photos, and of what was found in them.
        models: which model serves.
        decoder: is asked at each point.
        workers: measure masks.
        clicks: go first: while there are any, no point is begun, for a second each at most.
        max_grid: most points to a side.
        concurrency: points asked at once, of all searches together.
    """

    def __init__(
        self,
        store: ImageStore,
        models: ModelService,
        decoder: MaskDecoder,
        workers: Workers,
        clicks: Admission,
        *,
        max_grid: int,
        concurrency: int,
    ) -> None:
        self._store = store
        self._models = models
        self._decoder = decoder
        self._workers = workers
        self._clicks = clicks
        self._max_grid = max_grid
        self._concurrency = concurrency
        self._places = asyncio.Semaphore(concurrency)

    async def lines(self, image_id: UUID, request: EverythingRequest) -> AsyncIterator[bytes]:
        """Yield lines of JSON: progress, then each object, best score first, then how many there were.

        A photo that was searched by the same model with the same parameters before is answered at once.

        Raises ImageNotFound, InvalidRequest, NoModelInService where the model changes meanwhile, and what the
        inference raises.
        """
        if request.grid > self._max_grid:
            raise InvalidRequest(f"grid must be at most {self._max_grid} here, got {request.grid}")
        record = await self._store.record(image_id)
        if record.type is not ImageType.ORIGINAL:
            raise InvalidRequest(f"{image_id} is a mask; search an original")
        identity = (await self._models.in_service()).identity
        found = await self._store.objects(image_id, identity, request.digest)
        if found is None:
            points = point_grid(request.grid, record.height, record.width)
            proposals: list[Proposal] = []
            for start in range(0, len(points), self._concurrency):
                part = points[start : start + self._concurrency]
                asked = (self._at(record, identity, float(x), float(y), request) for x, y in part)
                for of_a_point in await asyncio.gather(*asked):
                    proposals += of_a_point
                yield _line({"progress": round((start + len(part)) / len(points), 4)})
            kept = without_duplicates(proposals, request.max_overlap)
            found = b"".join(_line({"object": _fields(proposal)}) for proposal in kept)
            found += _line({"done": {"objects": len(kept), "identity": identity}})
            with suppress(ImageNotFound, StoreUnavailable):  # then it is searched again another time
                await self._store.add_objects(image_id, identity, request.digest, found)
        for line in found.splitlines(keepends=True):
            yield line

    async def _at(
        self, record: ImageRecord, identity: str, x: float, y: float, request: EverythingRequest
    ) -> list[Proposal]:
        prompt = to_model_prompt(Prompt(np.array([[x, y]]), np.ones(1, np.int32)), record.height, record.width)
        async with self._places:
            await self._clicks.quiet(_PATIENCE_SECONDS)
            masks = await self._decoder.decode(record.image_id, prompt)
            if masks.identity != identity:
                raise NoModelInService("the model was replaced while the photo was searched; search it again")
            return await self._workers.run_ranked(
                _LAST, None, partial(_proposals, masks.logits, masks.scores, (x, y), record, request)
            )


def _proposals(
    logits: NDArray[np.float32],
    scores: NDArray[np.float32],
    point: tuple[float, float],
    record: ImageRecord,
    request: EverythingRequest,
) -> list[Proposal]:
    candidates = (
        propose(
            one,
            float(score),
            point,
            (record.height, record.width),
            request.thresholds,
            polygons=Outline.POLYGONS in request.outputs,
            rle=Outline.RLE in request.outputs,
        )
        for one, score in zip(logits, scores, strict=True)
    )
    return [candidate for candidate in candidates if candidate is not None]


def _fields(proposal: Proposal) -> dict[str, Any]:
    return {name: value for name, value in asdict(proposal).items() if value is not None}


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value) + b"\n"
