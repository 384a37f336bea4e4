"""One click: a prompt on an uploaded image becomes three candidates."""

import asyncio
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pybase64 import b64encode

from frontend_api.errors import ClickTimeout, InvalidPrompt, InvalidRequest
from frontend_api.images.prompts import Prompt, mask_prompt_logits, to_model_prompt
from frontend_api.masks.candidates import render
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.metrics import Metrics
from frontend_api.segmentation.mask_decoder import MaskDecoder
from frontend_api.segmentation.pixels import Pixels
from frontend_api.segmentation.workers import Workers
from frontend_api.storage.image_store import ImageRecord, ImageStore, ImageType


@dataclass(frozen=True, slots=True)
class Click:
    """What a client asks for.

    Attributes:
        image_id: the original.
        points: float64 ``(P, 2)``, x and y in pixels of the EXIF-oriented image.
        labels: int32 ``(P,)``, 1 foreground, 0 background.
        box: float64 ``(4,)``: x0, y0, x1, y1 in pixels, or None.
        mask_id: an uploaded mask used as SAM's mask prompt, or None.
        method: profile of the soft edge.
        width: width of the soft edge in pixels.
    """

    image_id: UUID
    points: NDArray[np.float64]
    labels: NDArray[np.int32]
    box: NDArray[np.float64] | None
    mask_id: UUID | None
    method: FeatherMethod
    width: float


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A rendered candidate.

    Attributes:
        mask: grey PNG of the image's size, in base64.
        cutout: RGBA PNG, in base64.
        score: SAM's predicted IoU.
    """

    mask: bytes
    cutout: bytes
    score: float


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

    async def candidates(self, click: Click) -> list[ScoredCandidate]:
        """Return SAM's three candidates, best score first.

        Raises ImageNotFound, InvalidRequest, InvalidPrompt, ClickTimeout and what the inference raises.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._candidates(click)
        except TimeoutError:
            raise ClickTimeout(
                f"the click took longer than {self._timeout:g} seconds; try again shortly or with a smaller image"
            ) from None

    async def _candidates(self, click: Click) -> list[ScoredCandidate]:
        with self._metrics.stage("store"):
            record = await self._store.record(click.image_id)
        if record.type is not ImageType.ORIGINAL:
            raise InvalidRequest(f"{click.image_id} is a mask; original_image_id must name an original")
        prompt = to_model_prompt(await self._prompt(click, record), record.height, record.width)
        masks = await self._decoder.decode(click.image_id, prompt)
        pixels = await self._pixels.get(click.image_id)
        order = np.argsort(-masks.scores, kind="stable")

        def scored(index: int) -> ScoredCandidate:
            candidate = render(
                pixels, masks.logits[index], method=click.method, width=click.width, stage=self._workers.stage
            )
            return ScoredCandidate(
                b64encode(candidate.mask_png), b64encode(candidate.cutout_png), float(masks.scores[index])
            )

        rank = record.width * record.height  # a small click does not wait for large ones
        return await asyncio.gather(
            *(self._workers.run_ranked(rank, None, partial(scored, int(index))) for index in order)
        )

    async def _prompt(self, click: Click, record: ImageRecord) -> Prompt:
        if not len(click.points) and click.box is None and click.mask_id is None:
            raise InvalidPrompt("the request holds no prompt: give at least one point, a box or a mask_image_id")
        xs, ys = click.points[:, 0], click.points[:, 1]
        outside = (xs < 0) | (xs > record.width) | (ys < 0) | (ys > record.height)
        if outside.any():
            x, y = click.points[outside][0]
            raise InvalidPrompt(f"point ({x:g}, {y:g}) lies outside the image of {_size(record)} pixels")
        if click.box is not None:
            x0, y0, x1, y1 = click.box
            if not (0 <= x0 < x1 <= record.width and 0 <= y0 < y1 <= record.height):
                raise InvalidPrompt(
                    f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) must satisfy x0 < x1 and y0 < y1 "
                    f"inside the image of {_size(record)} pixels"
                )
        mask = None if click.mask_id is None else await self._mask(click.mask_id, record)
        return Prompt(click.points, click.labels, click.box, mask)

    async def _mask(self, mask_id: UUID, record: ImageRecord) -> NDArray[np.float32]:
        mask_record = await self._store.record(mask_id)
        if mask_record.type is not ImageType.MASK:
            raise InvalidRequest(f"{mask_id} is an original; mask_image_id must name an upload with image_type=mask")
        mask = await self._pixels.decode_mask(await self._store.original(mask_id))
        return await self._workers.run(None, mask_prompt_logits, mask, record.height, record.width)


def _size(record: ImageRecord) -> str:
    return f"{record.width} × {record.height}"
