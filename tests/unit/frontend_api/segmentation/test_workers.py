"""Workers: who leaves waits until the thread has stopped, small work goes first."""

import asyncio
import threading

import pytest

from frontend_api.metrics import Metrics
from frontend_api.segmentation.workers import Workers


@pytest.fixture
def workers():
    with Workers(1, Metrics()) as workers:
        yield workers


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - another thread tells
            await asyncio.sleep(0.001)


async def test_who_leaves_goes_on_only_when_the_thread_has_stopped_before_its_next_stage(workers):
    goes_on, done = threading.Event(), []

    def work():
        with workers.stage("refine"):
            done.append("refine")
            goes_on.wait(5)
        with workers.stage("encode_png"):
            done.append("encode_png")

    leaving = asyncio.create_task(workers.run(None, work))
    await until(lambda: done)
    leaving.cancel()
    await asyncio.sleep(0.02)
    assert not leaving.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert done == ["refine"]


async def test_work_that_is_cancelled_before_it_began_never_runs(workers):
    goes_on, ran = threading.Event(), []
    first = asyncio.create_task(workers.run(None, goes_on.wait, 5))
    others = [asyncio.create_task(workers.run(None, ran.append, number)) for number in range(3)]
    await asyncio.sleep(0.01)
    for other in others:
        other.cancel()
    await asyncio.sleep(0.01)
    goes_on.set()
    await asyncio.gather(first, *others, return_exceptions=True)
    assert ran == []


async def test_what_has_a_lower_rank_goes_before_what_came_earlier(workers):
    goes_on, order = threading.Event(), []
    first = [asyncio.create_task(workers.run(None, goes_on.wait, 5)) for _ in range(2)]
    await asyncio.sleep(0.01)
    later = [
        asyncio.create_task(workers.run_ranked(rank, None, lambda rank=rank: order.append(rank))) for rank in (9, 5, 7)
    ]
    await asyncio.sleep(0.01)
    goes_on.set()
    await asyncio.gather(*first, *later)
    assert order == [5, 7, 9]


async def test_an_error_reaches_who_waits(workers):
    with pytest.raises(ZeroDivisionError):
        await workers.run(None, divmod, 1, 0)
