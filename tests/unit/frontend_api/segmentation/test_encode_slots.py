"""EncodeSlots: bounded, urgent first."""

import asyncio

import pytest

from frontend_api.segmentation.encode_slots import EncodeSlots, Ticket


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def worker(slots, ticket, name, order, finish):
    async with slots.hold(ticket):
        order.append(name)
        await finish.wait()


async def test_no_more_than_the_slots_run_at_once_and_urgent_tickets_go_first():
    slots, order, finish = EncodeSlots(1), [], asyncio.Event()
    tickets = {name: Ticket(urgent=False) for name in "abc"}
    tasks = [asyncio.create_task(worker(slots, ticket, name, order, finish)) for name, ticket in tickets.items()]
    await settle()
    assert order == ["a"]
    assert slots.waiting == 2
    tickets["c"].urgent = True  # a click arrives while it waits
    finish.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "c", "b"]


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_cancelled_ticket_gives_its_place_back(handed_over):
    slots, order, finish = EncodeSlots(1), [], asyncio.Event()
    first = asyncio.create_task(worker(slots, Ticket(urgent=False), "first", order, finish))
    await settle()
    cancelled = asyncio.create_task(worker(slots, Ticket(urgent=False), "cancelled", order, finish))
    last = asyncio.create_task(worker(slots, Ticket(urgent=False), "last", order, finish))
    await settle()
    if handed_over:
        finish.set()
        await asyncio.sleep(0)  # the first ends and hands its slot to the one about to be cancelled
    cancelled.cancel()
    finish.set()
    await asyncio.gather(first, last)
    await asyncio.gather(cancelled, return_exceptions=True)
    assert order[-1] == "last"
    async with asyncio.timeout(1), slots.hold(Ticket(urgent=False)):
        pass
