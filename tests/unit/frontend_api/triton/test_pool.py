"""TritonPool: who is asked, what is asked again, and which versions count as ready."""

import asyncio
from collections import Counter

import numpy as np
import pytest

from frontend_api.errors import InferenceTimeout, Saturated, TritonUnavailable, VersionGone
from frontend_api.inference import MODEL_NAMES, Embedding, VersionState
from frontend_api.triton import member
from frontend_api.triton import pool as pool_module
from frontend_api.triton.pool import TritonPool

A, B = "vit_b/fp32/aaaa", "vit_b/fp16/bbbb"
IMAGE = np.zeros((1024, 1024, 3), np.uint8)


class FakeTriton:
    """Holds `held`: identities by version. Set `error` to make every call fail, `slips` for the next ones."""

    def __init__(self):
        self.held = {1: A}
        self.failed = {}
        self.error = None
        self.slips = []
        self.calls = Counter()
        self.closed = False
        self.released = asyncio.Event()
        self.released.set()

    async def _called(self, name):
        self.calls[name] += 1
        await self.released.wait()
        if self.slips:
            raise self.slips.pop(0)
        if self.error is not None:
            raise self.error

    async def versions(self):
        await self._called("versions")
        states = {version: VersionState(ready=True) for version in self.held}
        states |= {version: VersionState(ready=False, reason=reason) for version, reason in self.failed.items()}
        return dict.fromkeys(MODEL_NAMES, states)

    async def identity(self, model, version):
        await self._called("identity")
        return self.held[version]

    async def encode(self, version, image, size):
        await self._called("encode")
        if version not in self.held:
            raise VersionGone("gone")
        return Embedding(np.zeros(1, np.float32), self.held[version])

    async def close(self):
        self.closed = True


@pytest.fixture
def tritons(monkeypatch):
    """Tritons by address, made as the pool asks for them or the test looks."""

    class Tritons(dict):
        def __missing__(self, address):
            self[address] = FakeTriton()
            return self[address]

    tritons = Tritons()
    monkeypatch.setattr(pool_module, "TritonClient", lambda address, *_: tritons[address])
    return tritons


@pytest.fixture
async def pool(tritons):
    async with TritonPool(["10.0.0.1:8000", "10.0.0.2:8000"], timeout=1) as pool:
        yield pool


@pytest.fixture
def one(tritons):
    return tritons["10.0.0.1:8000"]


@pytest.fixture
def two(tritons):
    return tritons["10.0.0.2:8000"]


def encode(pool, version=1):
    return pool.encode(version, IMAGE, (1024, 1024))


async def ready(pool):
    versions = await pool.versions()
    assert versions["sam_encoder"] == versions["sam_decoder"]
    return [version for version, state in versions["sam_decoder"].items() if state.ready]


async def test_requests_go_to_the_least_busy(pool, one, two):
    await pool.versions()
    one.released.clear()
    two.released.clear()
    tasks = [asyncio.create_task(encode(pool)) for _ in range(6)]
    await asyncio.sleep(0.01)
    assert one.calls["encode"] == two.calls["encode"] == 3
    one.released.set()
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(encode(pool)) for _ in range(4)]
    await asyncio.sleep(0.01)
    assert (one.calls["encode"], two.calls["encode"]) == (7, 3)
    two.released.set()
    await asyncio.gather(*tasks)


async def test_a_failed_request_is_answered_by_the_other_and_the_failed_one_is_spared_until_it_answers(pool, one, two):
    await pool.versions()
    one.error = TritonUnavailable("dead")
    for _ in range(20):
        await encode(pool)
    assert one.calls["encode"] == 1
    one.error = None
    await pool.versions()
    for _ in range(40):
        await encode(pool)
    assert one.calls["encode"] > 1


async def test_when_both_fail_the_second_error_is_told_after_two_tries(pool, one, two):
    await pool.versions()
    one.error = two.error = TritonUnavailable("dead")
    with pytest.raises(TritonUnavailable, match="dead"):
        await encode(pool)
    assert one.calls["encode"] == two.calls["encode"] == 1


@pytest.mark.parametrize("error", [Saturated("full"), InferenceTimeout("slow")])
async def test_a_full_queue_and_a_time_out_are_not_tried_again(pool, one, two, error):
    await pool.versions()
    one.error = two.error = error
    with pytest.raises(type(error)):
        await encode(pool)
    assert one.calls["encode"] + two.calls["encode"] == 1


async def test_the_only_triton_is_asked_once_more_over_a_new_connection(tritons, one):
    async with TritonPool(["10.0.0.1:8000"], timeout=1) as pool:
        await pool.versions()
        one.slips = [TritonUnavailable("reset")]
        assert (await encode(pool)).identity == A
        one.slips = [TritonUnavailable("reset"), TritonUnavailable("refused")]
        with pytest.raises(TritonUnavailable, match="refused"):
            await encode(pool)


async def test_the_only_triton_is_not_asked_again_for_a_version_it_lost(tritons, one):
    async with TritonPool(["10.0.0.1:8000"], timeout=1) as pool:
        await pool.versions()
        one.held = {}
        with pytest.raises(VersionGone):
            await encode(pool)
        assert one.calls["encode"] == 1


async def test_a_version_is_ready_once_it_is_everywhere_and_until_then_the_shared_one_is(pool, one, two):
    assert await ready(pool) == [1]
    one.held = {1: A, 2: B}
    assert await ready(pool) == [1]
    two.held = {1: A, 2: B}
    assert await ready(pool) == [1, 2]
    one.held = {2: B, 3: A}
    assert await ready(pool) == [2]


async def test_requests_go_where_the_version_is(pool, one, two):
    one.held, two.held = {3: A}, {4: B}
    assert await ready(pool) == [3, 4]
    for _ in range(10):
        assert (await encode(pool, 4)).identity == B
        assert (await encode(pool, 3)).identity == A
    assert (one.calls["encode"], two.calls["encode"]) == (10, 10)


async def test_a_version_gone_from_one_is_asked_of_the_other(pool, one, two):
    await pool.versions()
    two.held = {}
    for _ in range(20):
        assert (await encode(pool)).identity == A
    assert two.calls["encode"] <= 1


async def test_a_triton_without_models_holds_nothing_up(pool, one, two):
    two.held = {}
    two.failed = {1: "out of memory"}
    assert await ready(pool) == [1]
    await encode(pool)
    assert two.calls["encode"] == 0


async def test_a_version_that_one_can_not_load_waits_and_the_reason_is_told(pool, one, two):
    one.held = {1: A, 2: B}
    two.failed = {2: "disk full"}
    state = (await pool.versions())["sam_encoder"][2]
    assert (state.ready, state.reason) == (False, "disk full")


async def test_a_triton_that_does_not_answer_or_does_not_end_is_left_out(pool, one, two, monkeypatch):
    monkeypatch.setattr(member, "_LOOK_SECONDS", 0.02)
    assert await ready(pool) == [1]
    one.held = {1: A, 2: B}
    two.released.clear()
    assert await ready(pool) == [1, 2]
    two.released.set()
    two.error = TritonUnavailable("refused")
    assert await ready(pool) == [1, 2]
    one.error = TritonUnavailable("refused")
    with pytest.raises(TritonUnavailable, match="does not answer"):
        await pool.versions()


async def test_tritons_that_hold_different_models_under_one_number_have_no_identity(pool, one, two):
    await pool.versions()
    assert await pool.identity("sam_decoder", 1) == A
    two.held = {1: B}
    with pytest.raises(VersionGone, match=r"different ones: vit_b/fp16/bbbb, vit_b/fp32/aaaa"):
        await pool.identity("sam_decoder", 1)
    two.error = TritonUnavailable("dead")
    assert await pool.identity("sam_decoder", 1) == A


async def test_tritons_come_and_go_with_their_name_and_finish_what_they_have(tritons, one, two, monkeypatch):
    addresses = {"10.0.0.1:8000"}

    async def addresses_of(_):
        if isinstance(addresses, OSError):
            raise addresses
        return addresses

    monkeypatch.setattr(pool_module, "addresses_of", addresses_of)
    async with TritonPool(["triton:8000"], timeout=1) as pool:
        await pool.versions()
        one.released.clear()
        under_way = asyncio.create_task(encode(pool))
        await asyncio.sleep(0.01)
        addresses = {"10.0.0.2:8000"}
        await pool.versions()
        await encode(pool)
        assert two.calls["encode"] == 1
        assert not one.closed
        one.released.set()
        assert (await under_way).identity == A
        assert one.closed
        addresses = OSError("no such name")
        await pool.versions()
        await encode(pool)
    assert two.closed


@pytest.mark.parametrize("unknown", ["gone.invalid:8000", "a..b:8000"])
async def test_a_name_that_is_not_known_leaves_out_no_other_triton(one, unknown):
    async with TritonPool([unknown, "10.0.0.1:8000"], timeout=1) as pool:
        assert await ready(pool) == [1]
