"""What a failed encode or click held is freed at once, not when the garbage collector comes round."""

import asyncio
import gc
import weakref

import pytest

from frontend_api.errors import TritonUnavailable
from frontend_api.metrics import Metrics
from frontend_api.services import open_services
from frontend_api.settings import Settings
from tests.support.fake_inference import FakeInference
from tests.unit.frontend_api.segmentation.test_embeddings import add, until


@pytest.fixture
def _uncollected():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_uncollected")
async def test_an_encode_that_fails_keeps_nothing_alive(photo_jpeg):
    inference = FakeInference()
    frames = []

    async def encode(version, image, size):
        frames.append(weakref.ref(image))
        await asyncio.sleep(0)
        raise TritonUnavailable("dead")

    inference.encode = encode
    settings = Settings(store="memory:///", model_poll_seconds=0.01, model_patience_seconds=0)
    async with open_services(settings, Metrics(), inference) as services:
        await until(lambda: services.models.reachable)
        model = services.models.current
        images = [await add(services, photo_jpeg) for _ in range(3)]
        waiting = [services.embeddings.get(image_id, model) for image_id in images for _ in range(2)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {TritonUnavailable}
        del outcomes, waiting
        await asyncio.sleep(0.01)
        assert len(frames) == 3
        assert [frame() for frame in frames if frame() is not None] == []
