"""Embeddings and pixels: made once, and not at all for whom nobody waits any more."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from frontend_api.errors import ImageNotFound
from frontend_api.inference import EMBEDDING_BYTES
from frontend_api.metrics import Metrics
from frontend_api.segmentation import pixels as pixels_module
from frontend_api.services import open_services
from frontend_api.settings import Settings
from frontend_api.storage.image_store import ImageRecord, ImageType
from tests.support.fake_inference import FakeInference

NEWER = "vit_fake/fp16/fedcba9876543210"


@pytest.fixture
def inference():
    return FakeInference()


@pytest.fixture
def changes():
    """Settings that a test wants otherwise."""
    return {}


@pytest.fixture
async def services(inference, changes):
    defaults = {"store": "memory:///", "model_poll_seconds": 0.01, "embedding_cache_bytes": 8 * EMBEDDING_BYTES}
    async with open_services(Settings(**defaults | changes), Metrics(), inference) as services:
        await until(lambda: services.models.reachable)
        yield services
        inference.released.set()


async def add(services, photo):
    """Store an upload that nothing has decoded or encoded yet."""
    record = ImageRecord(
        image_id=uuid4(), type=ImageType.ORIGINAL, filename="a.jpg", size=len(photo),
        width=300, height=200, created_at=datetime.now(UTC),
    )  # fmt: skip
    await services.image_store.add(record, photo)
    return record.image_id


def click(services, image_id):
    return asyncio.create_task(services.embeddings.get(image_id, services.models.current))


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - many conditions, no event for them
            await asyncio.sleep(0.001)


async def busy(services, inference, photo):
    """Have the only slot taken, so that further encodes wait."""
    inference.released.clear()
    first = click(services, await add(services, photo))
    await until(lambda: inference.calls["encode"] == 1)
    return first


async def leave(*clicks):
    for task in clicks:
        task.cancel()
    await asyncio.gather(*clicks, return_exceptions=True)
    await asyncio.sleep(0.01)


async def test_what_abandoned_clicks_waited_for_leaves_the_queue(services, inference, photo_jpeg):
    queue = services.embeddings._encoder._queue
    await busy(services, inference, photo_jpeg)
    images = [await add(services, photo_jpeg) for _ in range(3)]
    clicks = [click(services, image_id) for image_id in images]
    other = click(services, images[0])
    await until(lambda: queue.waiting == 3)
    await leave(*clicks)
    assert queue.waiting == 1, "somebody still waits for the first"
    inference.released.set()
    await other
    assert inference.calls["encode"] == 2


async def test_an_upload_stays_in_the_queue_but_goes_before_others_only_while_a_click_waits(
    services, inference, photo_jpeg
):
    queue = services.embeddings._encoder._queue
    await busy(services, inference, photo_jpeg)
    image_id = await add(services, photo_jpeg)
    services.embeddings.prefetch(image_id)
    impatient = click(services, image_id)
    await until(lambda: queue.waiting == 1)
    assert queue._waiting[0].rank() == 0
    await leave(impatient)
    assert [ticket.rank() for ticket in queue._waiting] == [1]


async def test_an_encode_under_way_is_finished_for_the_next_click(services, inference, photo_jpeg):
    first = await busy(services, inference, photo_jpeg)
    await leave(first)
    inference.released.set()
    await until(lambda: services.embeddings._memory.currsize > 0)
    assert inference.calls["encode"] == 1


async def test_a_deletion_in_the_queue_is_told_and_passes_the_slot_on(services, inference, photo_jpeg):
    first = await busy(services, inference, photo_jpeg)
    deleted, kept = await add(services, photo_jpeg), await add(services, photo_jpeg)
    clicks = [click(services, image_id) for image_id in (deleted, kept)]
    await until(lambda: services.embeddings._encoder._queue.waiting == 2)
    services.embeddings.forget(deleted)
    inference.released.set()
    await first
    with pytest.raises(ImageNotFound, match="deleted while it was being encoded"):
        await clicks[0]
    await clicks[1]


async def test_a_successor_is_prepared_for_no_more_images_than_half_of_memory_holds(services, photo_jpeg):
    images = [await add(services, photo_jpeg) for _ in range(8)]
    for image_id in images:
        await click(services, image_id)
    assert list(services.embeddings._in_use) == images[-4:]


async def test_images_in_use_are_encoded_before_a_successor_takes_over(services, inference, photo_jpeg, monkeypatch):
    images = [await add(services, photo_jpeg) for _ in range(3)]
    for image_id in (*images, images[0]):
        await click(services, image_id)
    monkeypatch.setitem(services.embeddings._in_use, images[1], -1e9)  # not used for long
    prepared, encode = [], inference.encode

    async def encoded(version, image, size):
        prepared.append((version, services.models.current.version))
        return await encode(version, image, size)

    inference.encode = encoded
    decoded, get = [], services.pixels.get
    monkeypatch.setattr(services.pixels, "get", lambda image_id: decoded.append(image_id) or get(image_id))
    inference.models = {2: (NEWER, NEWER)} | inference.models
    await until(lambda: services.models.current.version == 2)
    assert prepared == [(2, 1)] * 2
    assert set(decoded) == {images[0], images[2]}
    await click(services, images[0])
    assert len(prepared) == 2


async def test_a_stored_embedding_that_is_not_whole_is_made_anew(services, inference, photo_jpeg):
    image_id = await add(services, photo_jpeg)
    await services.image_store.add_embedding(image_id, services.models.current.identity, bytes(EMBEDDING_BYTES - 4))
    assert (await click(services, image_id)).values.nbytes == EMBEDDING_BYTES
    assert inference.calls["encode"] == 1


async def test_an_answer_of_another_encoder_has_the_models_looked_at_and_keeps_its_identity(
    services, inference, photo_jpeg
):
    model = services.models.current
    inference.models = {1: (NEWER, NEWER)}  # replaced in place
    embedding = await services.embeddings.get(await add(services, photo_jpeg), model)
    assert embedding.identity == NEWER
    assert services.models.current.identity == NEWER


@pytest.mark.parametrize("changes", [{"max_queued_encodes": 2}])
async def test_no_more_uploads_wait_to_be_encoded_than_may(services, inference, photo_jpeg):
    await busy(services, inference, photo_jpeg)
    for count in (1, 2):
        services.embeddings.prefetch(await add(services, photo_jpeg))
        await until(lambda count=count: services.embeddings._encoder._queue.waiting == count)
    services.embeddings.prefetch(await add(services, photo_jpeg))
    await asyncio.sleep(0.05)
    assert services.embeddings._encoder._queue.waiting == 2


@pytest.mark.parametrize(
    ("changes", "kept"),
    [({"embedding_cache_bytes": 2 * EMBEDDING_BYTES}, 2), ({"embedding_cache_bytes": EMBEDDING_BYTES - 1}, 0)],
    ids=["room for two", "room for none"],
)
async def test_memory_holds_no_more_embeddings_than_it_may(services, photo_jpeg, kept):
    for _ in range(3):
        await click(services, await add(services, photo_jpeg))
    assert services.embeddings._memory.currsize == kept * EMBEDDING_BYTES


@pytest.mark.parametrize("changes", [{"pixel_cache_bytes": 300 * 200 * 3}, {"pixel_cache_bytes": 0}])
async def test_memory_holds_no_more_pixels_than_it_may(services, changes, photo_jpeg):
    for _ in range(2):
        assert (await services.pixels.get(await add(services, photo_jpeg))).shape == (200, 300, 3)
    assert services.pixels._memory.currsize == changes["pixel_cache_bytes"]


async def test_a_client_that_leaves_takes_nobody_elses_click_along(services, inference, photo_jpeg):
    image_id = await add(services, photo_jpeg)
    inference.released.clear()
    leaving, staying = click(services, image_id), click(services, image_id)
    await until(lambda: inference.calls["encode"] == 1)
    await leave(leaving)
    inference.released.set()
    assert (await staying).identity == services.models.current.identity


async def test_an_image_is_decoded_once_for_all_who_wait(services, photo_jpeg, monkeypatch):
    decoded = []
    decode = pixels_module.decode_image

    def counted(*args, **options):
        decoded.append(args)
        return decode(*args, **options)

    monkeypatch.setattr(pixels_module, "decode_image", counted)
    image_id = await add(services, photo_jpeg)
    arrays = await asyncio.gather(*(services.pixels.get(image_id) for _ in range(8)))
    assert len(decoded) == 1
    assert all(array is arrays[0] for array in arrays)


async def test_an_embedding_of_an_image_deleted_meanwhile_does_not_stay(services, inference, photo_jpeg):
    first = await busy(services, inference, photo_jpeg)
    image_id = next(iter(services.embeddings._in_use))
    await services.image_store.delete(image_id)
    inference.released.set()
    await first
    await services.embeddings.aclose()
    assert services.image_store._store.list("images/").collect() == []
