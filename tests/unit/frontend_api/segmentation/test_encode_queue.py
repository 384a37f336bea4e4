"""EncodeQueue: bounded, urgent first."""

import asyncio

import pytest

from frontend_api.segmentation.encode_queue import EncodeQueue


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def never():
    return False


async def worker(slots, urgent, name, order, finish):
    async with slots.hold(urgent):
        order.append(name)
        await finish.wait()


async def test_no_more_than_the_slots_run_at_once_and_urgent_ones_go_first():
    slots, order, finish, urgent = EncodeQueue(1), [], asyncio.Event(), set()
    tasks = [
        asyncio.create_task(worker(slots, lambda name=name: name in urgent, name, order, finish)) for name in "abc"
    ]
    await settle()
    assert order == ["a"]
    assert slots.waiting == 2
    urgent.add("c")  # a click arrives while it waits
    finish.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "c", "b"]


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_cancelled_ticket_gives_its_place_back(handed_over):
    slots, order, finish = EncodeQueue(1), [], asyncio.Event()
    first = asyncio.create_task(worker(slots, never, "first", order, finish))
    await settle()
    cancelled = asyncio.create_task(worker(slots, never, "cancelled", order, finish))
    last = asyncio.create_task(worker(slots, never, "last", order, finish))
    await settle()
    if handed_over:
        finish.set()
        await asyncio.sleep(0)  # the first ends and hands its slot to the one about to be cancelled
    cancelled.cancel()
    finish.set()
    await asyncio.gather(first, last)
    await asyncio.gather(cancelled, return_exceptions=True)
    assert order[-1] == "last"
    async with asyncio.timeout(1), slots.hold(never):
        pass


async def test_a_slot_given_back_as_the_next_in_line_is_cancelled_goes_to_the_one_after():
    slots, order, finish = EncodeQueue(1), [], asyncio.Event()
    async with slots.hold(never):
        cancelled = asyncio.create_task(worker(slots, never, "cancelled", order, finish))
        last = asyncio.create_task(worker(slots, never, "last", order, finish))
        await settle()
        cancelled.cancel()
    finish.set()
    await last
    assert order == ["last"]
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    async with asyncio.timeout(1), slots.hold(never):
        pass
