"""What a failed encode or click held is freed at once, not when the garbage collector comes round."""

import asyncio
import gc
import weakref

import pytest
from starlette.testclient import TestClient

from frontend_api.application import create_app
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


@pytest.mark.usefixtures("_uncollected")
def test_a_click_that_fails_keeps_nothing_alive(photo_jpeg):
    inference = FakeInference()
    prompts = []

    async def decode(version, embedding, prompt):
        prompts.append(weakref.ref(prompt.mask_input))
        await asyncio.sleep(0)
        raise TritonUnavailable("dead")

    inference.decode = decode
    settings = Settings(store="memory:///", model_poll_seconds=0.01, model_patience_seconds=0)
    with TestClient(create_app(settings, inference)) as client:
        image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
        while client.get("/health").status_code != 200:
            pass
        click = {"original_image_id": image_id, "points": [{"x": 9, "y": 9}], "labels": [1]}
        assert [client.post("/api/run", json=click).status_code for _ in range(2)] == [503, 503]
        assert len(prompts) == 2
        assert [prompt() for prompt in prompts if prompt() is not None] == []
