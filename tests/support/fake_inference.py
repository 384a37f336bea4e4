"""A model server that fits on one screen: it draws a disc around the first point."""

import asyncio
import threading
from collections import Counter

import numpy as np

from frontend_api.errors import VersionGone
from frontend_api.inference import EMBEDDING_SHAPE, MODEL_NAMES, Embedding, Masks, VersionState

IDENTITY = "vit_fake/fp32/0123456789abcdef"


class FakeInference:
    """Serves `models`: per version the identities of encoder and decoder. Set `error` to make every call fail."""

    def __init__(self, models=None):
        self.models = {1: (IDENTITY, IDENTITY)} if models is None else models
        self.error = None
        self.calls = Counter()
        self.released = threading.Event()  # set from the test's thread, read from the application's
        self.released.set()

    async def _called(self, name):
        self.calls[name] += 1
        while not self.released.is_set():  # noqa: ASYNC110 - the setter lives in another thread
            await asyncio.sleep(0.005)
        if self.error is not None:
            raise self.error

    def _identity(self, model, version):
        if not self.models.get(version):
            raise VersionGone("the model version was just replaced; try again")
        return self.models[version][MODEL_NAMES.index(model)]

    async def versions(self):
        await self._called("versions")
        return {name: {version: VersionState(ready=True) for version in self.models} for name in MODEL_NAMES}

    async def identity(self, model, version):
        await self._called("identity")
        return self._identity(model, version)

    async def encode(self, version, image, size):
        await self._called("encode")
        assert image.shape == (1024, 1024, 3)
        return Embedding(np.full(EMBEDDING_SHAPE, image.mean(), np.float32), self._identity("sam_encoder", version))

    async def decode(self, version, embedding, prompt):
        await self._called("decode")
        x, y = prompt.point_coords[0] / 4
        ys, xs = np.mgrid[0:256, 0:256]
        distance = np.hypot(xs - x, ys - y).astype(np.float32)
        logits = np.stack([radius - distance for radius in (10, 20, 30)])
        return Masks(logits, np.array([0.5, 0.9, 0.7], np.float32), self._identity("sam_decoder", version))
