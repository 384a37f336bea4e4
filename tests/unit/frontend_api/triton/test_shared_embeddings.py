import mmap
import os
from contextlib import AsyncExitStack

import aiohttp
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from frontend_api.errors import RegionUnknown
from frontend_api.inference import EMBEDDING_BYTES, EMBEDDING_SHAPE
from frontend_api.triton import shared_embeddings
from frontend_api.triton.shared_embeddings import SharedEmbeddings


class Registry:
    """Triton's part: maps regions while their files are there, and reads from them."""

    def __init__(self):
        self.regions, self.registered, self.refusal = {}, 0, None

    async def register_system_shared_memory(self, name, key, byte_size):
        if self.refusal:
            raise self.refusal
        assert name not in self.regions
        with (shared_embeddings._FOLDER / key.removeprefix("/")).open("r+b") as file:
            self.regions[name] = mmap.mmap(file.fileno(), byte_size)
        self.registered += 1

    async def unregister_system_shared_memory(self, name):
        self.regions.pop(name, None)

    def read(self, place):
        memory = self.regions[place.region]
        return np.frombuffer(memory[place.offset : place.offset + EMBEDDING_BYTES], np.float32).reshape(EMBEDDING_SHAPE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_embeddings, "_FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def triton(folder):
    return Registry()


def embedding(number):
    return np.full(EMBEDDING_SHAPE, number, np.float32)


async def lent(shared, values):
    async with shared.lend(values) as place:
        return place


async def test_triton_finds_every_embedding_where_it_is_told_and_no_file_stays(triton, folder):
    shared = SharedEmbeddings(triton, 3 * EMBEDDING_BYTES)
    for values in (embedding(1), embedding(2), embedding(3), embedding(4)):
        async with shared.lend(values) as place:
            assert np.array_equal(triton.read(place), values)
    assert triton.registered == 1
    assert not list(folder.iterdir())


async def test_an_embedding_stays_where_it_is_while_there_is_room(triton):
    shared, first, second = SharedEmbeddings(triton, 2 * EMBEDDING_BYTES), embedding(1), embedding(2)
    places = [await lent(shared, values) for values in (first, second, first, second)]
    assert places[:2] == places[2:]
    assert places[0] != places[1]


async def test_the_embedding_unused_longest_makes_room_unless_it_is_being_read(triton):
    shared, values = SharedEmbeddings(triton, 2 * EMBEDDING_BYTES), [embedding(n) for n in range(4)]
    async with AsyncExitStack() as stack:
        read = await stack.enter_async_context(shared.lend(values[0]))
        unused = await lent(shared, values[1])
        assert await lent(shared, values[2]) == unused
        await stack.enter_async_context(shared.lend(values[2]))
        assert await lent(shared, values[3]) is None, "all places are being read"
        assert np.array_equal(triton.read(read), values[0])
    assert await lent(shared, values[3]) is not None


async def test_the_place_of_an_embedding_that_is_gone_is_free(triton):
    shared, kept = SharedEmbeddings(triton, 2 * EMBEDDING_BYTES), embedding(1)
    place = await lent(shared, kept)
    for number in range(5):
        await lent(shared, embedding(number))
    assert await lent(shared, kept) == place
    assert np.array_equal(triton.read(place), kept)


async def test_a_triton_that_forgot_the_region_is_given_another(triton):
    shared, values = SharedEmbeddings(triton, EMBEDDING_BYTES), embedding(1)
    await lent(shared, values)
    triton.regions.clear()
    with pytest.raises(RegionUnknown):
        async with shared.lend(values):
            raise RegionUnknown("no such region")
    assert np.array_equal(triton.read(await lent(shared, values)), values)


async def test_several_requests_that_a_new_triton_refuses_have_the_region_replaced_once(triton):
    shared, values = SharedEmbeddings(triton, EMBEDDING_BYTES), embedding(1)

    async def refused_early():
        async with shared.lend(values):
            triton.regions.clear()
            raise RegionUnknown("no such region")

    async def refused_late():
        async with shared.lend(values):
            with pytest.raises(RegionUnknown):
                await refused_early()
            assert await lent(shared, values) is not None
            raise RegionUnknown("no such region")

    with pytest.raises(RegionUnknown):
        await refused_late()
    assert np.array_equal(triton.read(await lent(shared, values)), values)
    assert triton.registered == 2


@pytest.mark.parametrize("reason", ["another machine", "full"])
async def test_clicks_carry_their_embeddings_where_memory_cant_be_shared(triton, folder, monkeypatch, reason):
    if reason == "full":
        monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    triton.refusal = InferenceServerException("unable to open shared memory region")
    shared = SharedEmbeddings(triton, EMBEDDING_BYTES)
    assert await lent(shared, embedding(1)) is None
    triton.refusal = None
    assert await lent(shared, embedding(1)) is None, "asking again at each click would slow it down"
    assert not list(folder.iterdir())


@pytest.mark.parametrize("error", [TimeoutError(), aiohttp.ServerDisconnectedError()])
async def test_memory_is_shared_after_a_triton_that_was_away_is_back(triton, error):
    shared, triton.refusal = SharedEmbeddings(triton, EMBEDDING_BYTES), error
    with pytest.raises(type(error)):
        await lent(shared, embedding(1))
    triton.refusal = None
    assert await lent(shared, embedding(1)) is not None


async def test_what_has_little_room_to_spare_is_left_to_triton(triton, folder):
    status = os.statvfs(folder)
    size = status.f_bavail * status.f_frsize // 3
    assert await lent(SharedEmbeddings(triton, size), embedding(1)) is None
    assert triton.registered == 0


async def test_without_room_for_one_nothing_is_shared(triton):
    assert await lent(SharedEmbeddings(triton, EMBEDDING_BYTES - 1), embedding(1)) is None
    assert triton.registered == 0


async def test_triton_lets_go_of_the_region_at_the_end(triton):
    shared = SharedEmbeddings(triton, EMBEDDING_BYTES)
    await lent(shared, embedding(1))
    await shared.close()
    assert triton.regions == {}
