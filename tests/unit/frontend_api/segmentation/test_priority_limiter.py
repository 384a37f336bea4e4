"""PriorityLimiter: bounded, the lowest rank first."""

import asyncio

import pytest

from frontend_api.segmentation.priority_limiter import PriorityLimiter


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def ordinary():
    return 1


async def worker(limiter, rank, name, order, finish):
    async with limiter.hold(rank):
        order.append(name)
        await finish.wait()


async def test_no_more_than_the_tokens_run_at_once_and_the_lowest_rank_goes_first():
    limiter, order, finish, urgent = PriorityLimiter(1), [], asyncio.Event(), set()
    tasks = [
        asyncio.create_task(worker(limiter, lambda name=name: int(name not in urgent), name, order, finish))
        for name in "abc"
    ]
    await settle()
    assert order == ["a"]
    assert limiter.waiting == 2
    urgent.add("c")  # a click arrives while it waits
    finish.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "c", "b"]


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_cancelled_ticket_gives_its_place_back(handed_over):
    limiter, order, finish = PriorityLimiter(1), [], asyncio.Event()
    first = asyncio.create_task(worker(limiter, ordinary, "first", order, finish))
    await settle()
    cancelled = asyncio.create_task(worker(limiter, ordinary, "cancelled", order, finish))
    last = asyncio.create_task(worker(limiter, ordinary, "last", order, finish))
    await settle()
    if handed_over:
        finish.set()
        await asyncio.sleep(0)  # the first ends and hands its token to the one about to be cancelled
    cancelled.cancel()
    finish.set()
    await asyncio.gather(first, last)
    await asyncio.gather(cancelled, return_exceptions=True)
    assert order[-1] == "last"
    async with asyncio.timeout(1), limiter.hold(ordinary):
        pass


async def test_a_token_given_back_as_the_next_in_line_is_cancelled_goes_to_the_one_after():
    limiter, order, finish = PriorityLimiter(1), [], asyncio.Event()
    async with limiter.hold(ordinary):
        cancelled = asyncio.create_task(worker(limiter, ordinary, "cancelled", order, finish))
        last = asyncio.create_task(worker(limiter, ordinary, "last", order, finish))
        await settle()
        cancelled.cancel()
    finish.set()
    await last
    assert order == ["last"]
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    async with asyncio.timeout(1), limiter.hold(ordinary):
        pass
