"""One click: a prompt on an uploaded image becomes three candidates."""

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pybase64 import b64encode

from frontend_api.errors import ClickTimeout, InvalidRequest
from frontend_api.images.prompts import Prompt, mask_prompt_logits, require_inside, to_model_prompt
from frontend_api.masks.candidates import Output, render
from frontend_api.masks.measures import Measures
from frontend_api.masks.polygons import Polygon
from frontend_api.masks.rle import RunLengths
from frontend_api.metrics import Metrics
from frontend_api.segmentation.mask_decoder import MaskDecoder
from frontend_api.segmentation.pixels import Pixels
from frontend_api.segmentation.run_request import RunRequest
from frontend_api.segmentation.workers import Workers
from frontend_api.storage.image_store import ImageRecord, ImageStore, ImageType


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A rendered candidate; what was not asked for is None.

    Attributes:
        score: SAM's predicted IoU.
        identity: of the model that drew it.
        mask: grey PNG of the image's size, in base64.
        cutout: RGBA PNG or WebP, in base64.
        logits: float16 256×256, in base64.
        polygons: outlines in pixels of the image.
        rle: COCO's run lengths.
        measures: box, area and stability.
    """

    score: float
    identity: str
    mask: bytes | None
    cutout: bytes | None
    logits: bytes | None
    polygons: list[Polygon] | None
    rle: RunLengths | None
    measures: Measures | None


class Segmenter:
    """Answers clicks.

    Args:
        timeout: the most seconds that a click may take.
    """

    def __init__(
        self,
        store: ImageStore,
        pixels: Pixels,
        decoder: MaskDecoder,
        workers: Workers,
        metrics: Metrics,
        *,
        timeout: float,
    ) -> None:
        self._store = store
        self._pixels = pixels
        self._decoder = decoder
        self._workers = workers
        self._metrics = metrics
        self._timeout = timeout

    async def candidates(self, request: RunRequest) -> list[ScoredCandidate]:
        """Return SAM's candidates, best score first, as many and in such forms as are asked for.

        Raises ImageNotFound, InvalidRequest, InvalidPrompt, ClickTimeout and what the inference raises.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._candidates(request)
        except TimeoutError:
            raise ClickTimeout(
                f"the click took longer than {self._timeout:g} seconds; try again shortly or with a smaller image"
            ) from None

    async def _candidates(self, request: RunRequest) -> list[ScoredCandidate]:
        with self._metrics.stage("store"):
            record = await self._store.record(request.original_image_id)
        if record.type is not ImageType.ORIGINAL:
            raise InvalidRequest(f"{request.original_image_id} is a mask; original_image_id must name an original")
        prompt = to_model_prompt(await self._prompt(request, record), record.height, record.width)
        identity = None if request.logits is None else request.logits.identity
        masks = await self._decoder.decode(request.original_image_id, prompt, identity)
        rendering, size = request.rendering, (record.height, record.width)
        pixels = None
        if Output.CUTOUT in rendering.outputs:
            pixels = await self._pixels.get(request.original_image_id)
        order = np.argsort(-masks.scores, kind="stable")[: request.candidates]

        def scored(index: int) -> ScoredCandidate:
            candidate = render(pixels, size, masks.logits[index], rendering, self._workers.stage)
            return ScoredCandidate(
                float(masks.scores[index]),
                masks.identity,
                _base64(candidate.mask),
                _base64(candidate.cutout),
                None if candidate.logits is None else b64encode(candidate.logits.tobytes()),
                candidate.polygons,
                candidate.rle,
                candidate.measures,
            )

        rank = record.width * record.height  # a small click does not wait for large ones
        return await asyncio.gather(
            *(self._workers.run_ranked(rank, None, partial(scored, int(index))) for index in order)
        )

    async def _prompt(self, request: RunRequest, record: ImageRecord) -> Prompt:
        box = None if request.box is None else np.array(request.box, np.float64)
        prompt = Prompt(request.coordinates, np.array(request.labels, np.int32), box)
        require_inside(prompt, record.height, record.width)
        if request.logits is not None:
            return replace(prompt, mask=request.logits.values)
        if request.mask_image_id is None:
            return prompt
        return replace(prompt, mask=await self._mask(request.mask_image_id, record))

    async def _mask(self, mask_id: UUID, record: ImageRecord) -> NDArray[np.float32]:
        mask_record = await self._store.record(mask_id)
        if mask_record.type is not ImageType.MASK:
            raise InvalidRequest(f"{mask_id} is an original; mask_image_id must name an upload with image_type=mask")
        mask = (await self._pixels.decode_mask(await self._store.original(mask_id))).pixels
        return await self._workers.run(None, mask_prompt_logits, mask, record.height, record.width)


def _base64(picture: bytes | None) -> bytes | None:
    return None if picture is None else b64encode(picture)
