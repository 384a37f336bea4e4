"""Waits for a model server that died a moment ago: its supervisor is starting it anew."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from frontend_api.errors import TritonUnavailable, VersionGone
from frontend_api.images.prompts import ModelPrompt
from frontend_api.inference import Embedding, Inference, Masks, ModelName
from frontend_api.model.progress import Progress

T = TypeVar("T")

_PAUSE_SECONDS = 0.2


class PatientInference:
    """Encodes and decodes, asking again while the model server is not there.

    Args:
        inference: the model server.
        progress: told what is asked and answered.
        seconds: how long after its last answer a model is given up, and every further request fails at once.
    """

    def __init__(self, inference: Inference, progress: Progress, seconds: float) -> None:
        self._inference = inference
        self._progress = progress
        self._seconds = seconds
        self._failing_since: dict[ModelName, float] = {}

    async def encode(self, version: int, image: NDArray[np.uint8], size: tuple[int, int]) -> Embedding:
        """Encode an image; see `Inference.encode`."""
        return await self._ask("sam_encoder", lambda: self._inference.encode(version, image, size))

    async def decode(self, version: int, embedding: Embedding, prompt: ModelPrompt) -> Masks:
        """Decode a prompt; see `Inference.decode`."""
        return await self._ask("sam_decoder", lambda: self._inference.decode(version, embedding, prompt))

    async def _ask(self, model: ModelName, send: Callable[[], Awaitable[T]]) -> T:
        failed: float | None = None
        while True:
            try:
                with self._progress.asked(model):
                    answer = await send()
            except VersionGone:
                raise
            except TritonUnavailable:
                since = self._failing_since.setdefault(model, monotonic())
                # Where others were answered meanwhile it is this request that can't be.
                if failed not in {None, since} or monotonic() >= since + self._seconds:
                    raise
                failed = since
            else:
                self._failing_since.pop(model, None)
                return answer
            await asyncio.sleep(_PAUSE_SECONDS)
