"""Replicas that share a store encode an image once."""

import asyncio
from contextlib import AsyncExitStack

import numpy as np
import pytest

from frontend_api.errors import TritonUnavailable
from frontend_api.metrics import Metrics
from frontend_api.services import open_services
from frontend_api.settings import Settings
from frontend_api.storage import claims
from frontend_api.storage.image_store import embedding_mark
from tests.support.fake_inference import IDENTITY, FakeInference
from tests.unit.frontend_api.segmentation.test_embeddings import add, click, until


@pytest.fixture
def inference():
    return FakeInference()


@pytest.fixture
async def replicas(inference, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_LOOK_SECONDS", 0.01)
    settings = Settings(store=tmp_path.as_uri(), model_poll_seconds=0.01, model_patience_seconds=0)
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(open_services(settings, Metrics(), inference)) for _ in range(3)]
        for replica in replicas:
            await until(lambda replica=replica: replica.models.reachable)
        yield replicas
        inference.released.set()


async def test_an_image_that_another_replica_is_encoding_is_waited_for(replicas, inference, photo_jpeg, tmp_path):
    image_id = await add(replicas[0], photo_jpeg)
    inference.released.clear()
    clicks = [click(replica, image_id) for replica in replicas]
    await until(lambda: inference.calls["encode"] == 1)
    await asyncio.sleep(0.05)
    inference.released.set()
    first, *others = await asyncio.gather(*clicks)
    assert inference.calls["encode"] == 1
    for other in others:
        np.testing.assert_array_equal(other.values, first.values)
    await asyncio.gather(*(replica.embeddings.aclose() for replica in replicas))
    assert not list(tmp_path.glob("**/*.claim"))


async def test_what_another_replica_failed_to_encode_is_encoded(replicas, inference, photo_jpeg):
    image_id = await add(replicas[0], photo_jpeg)
    inference.released.clear()
    first = click(replicas[0], image_id)
    await until(lambda: inference.calls["encode"] == 1)
    second = click(replicas[1], image_id)
    await asyncio.sleep(0.02)
    inference.error = TritonUnavailable("dead")
    inference.released.set()
    with pytest.raises(TritonUnavailable):
        await first
    inference.error = None
    assert (await second).identity == IDENTITY


async def test_the_claim_of_a_replica_that_died_is_not_waited_for_long(replicas, inference, photo_jpeg, monkeypatch):
    monkeypatch.setattr(claims, "_DEAD_SECONDS", 0.05)
    image_id = await add(replicas[0], photo_jpeg)
    await replicas[0].image_store._store.put_async(embedding_mark(image_id, IDENTITY), b"")
    assert (await click(replicas[1], image_id)).identity == IDENTITY
    assert inference.calls["encode"] == 1


async def test_a_claim_is_renewed_while_it_is_held(replicas, inference, photo_jpeg, monkeypatch):
    monkeypatch.setattr(claims, "_DEAD_SECONDS", 0.2)
    monkeypatch.setattr(claims, "_RENEW_SECONDS", 0.02)
    image_id = await add(replicas[0], photo_jpeg)
    inference.released.clear()
    clicks = [click(replica, image_id) for replica in replicas]
    await asyncio.sleep(0.5)
    inference.released.set()
    await asyncio.gather(*clicks)
    assert inference.calls["encode"] == 1
