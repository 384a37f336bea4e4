"""One click: a prompt on an uploaded image becomes three candidates."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pybase64 import b64encode

from frontend_api.errors import InvalidPrompt, InvalidRequest, NoModelInService, VersionGone
from frontend_api.images.decoding import decode_mask
from frontend_api.images.prompts import ModelPrompt, Prompt, mask_prompt_logits, to_model_prompt
from frontend_api.inference import Inference, Masks
from frontend_api.masks.candidates import render
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.metrics import Metrics
from frontend_api.model.watch import ModelWatch
from frontend_api.segmentation.embeddings import Embeddings
from frontend_api.segmentation.pixels import Pixels
from frontend_api.segmentation.workers import Workers
from frontend_api.storage.images import ImageRecord, ImageStore, ImageType

_ATTEMPTS = 4  # a model swapped under a click is met once, an edit in place of both its files twice


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
    """Answers clicks."""

    def __init__(
        self,
        inference: Inference,
        models: ModelWatch,
        images: ImageStore,
        pixels: Pixels,
        embeddings: Embeddings,
        workers: Workers,
        metrics: Metrics,
        *,
        max_pixels: int,
    ) -> None:
        self._inference = inference
        self._models = models
        self._images = images
        self._pixels = pixels
        self._embeddings = embeddings
        self._workers = workers
        self._metrics = metrics
        self._max_pixels = max_pixels

    async def candidates(self, click: Click) -> list[ScoredCandidate]:
        """Return SAM's three candidates, best score first.

        Raises ImageNotFound, InvalidRequest, InvalidPrompt and what the inference raises.
        """
        with self._metrics.stage("store"):
            record = await self._images.record(click.image_id)
        if record.type is not ImageType.ORIGINAL:
            raise InvalidRequest(f"{click.image_id} is a mask; original_image_id must name an original")
        prompt = to_model_prompt(await self._prompt(click, record), record.height, record.width)
        masks = await self._decode(click.image_id, prompt)
        pixels = await self._pixels.get(click.image_id)
        order = np.argsort(-masks.scores, kind="stable")

        def scored(index: int) -> ScoredCandidate:
            candidate = render(
                pixels, masks.logits[index], method=click.method, width=click.width, stage=self._metrics.stage
            )
            return ScoredCandidate(
                b64encode(candidate.mask_png), b64encode(candidate.cutout_png), float(masks.scores[index])
            )

        return await asyncio.gather(*(self._workers.run(None, scored, int(index)) for index in order))

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
        mask_record = await self._images.record(mask_id)
        if mask_record.type is not ImageType.MASK:
            raise InvalidRequest(f"{mask_id} is an original; mask_image_id must name an upload with image_type=mask")
        data = await self._images.original(mask_id)

        def logits() -> NDArray[np.float32]:
            mask = decode_mask(data, max_pixels=self._max_pixels)
            return mask_prompt_logits(mask, record.height, record.width)

        return await self._workers.run("decode", logits)

    async def _decode(self, image_id: UUID, prompt: ModelPrompt) -> Masks:
        """Decode the prompt with embedding and decoder of one checkpoint, however the models change meanwhile."""
        model = await self._models.in_service()
        identities = ""
        for _ in range(_ATTEMPTS):
            try:
                with self._metrics.stage("embedding"):
                    embedding = await self._embeddings.get(image_id, model)
                if embedding.identity == model.identity:
                    with self._metrics.stage("decode_prompts"):
                        masks = await self._inference.decode(model.version, embedding, prompt)
                    if masks.identity == embedding.identity:
                        return masks
                    identities = f"the encoder's is {embedding.identity}, the decoder's {masks.identity}"
                else:
                    identities = f"the encoder's is {embedding.identity}, the decoder's {model.identity}"
            except VersionGone as error:
                identities = str(error)
            model = await self._models.refresh(model)
        raise NoModelInService(f"encoder and decoder do not belong together: {identities}")


def _size(record: ImageRecord) -> str:
    return f"{record.width} × {record.height}"
