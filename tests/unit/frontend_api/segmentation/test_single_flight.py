"""SingleFlight: done once for all who wait, given up when nobody does."""

import asyncio

import pytest

from frontend_api.segmentation.single_flight import GivenUp, SingleFlight


class Work:
    """Counts how often it was begun and ended; goes on when told."""

    def __init__(self):
        self.begun = self.ended = 0
        self.goes_on = asyncio.Event()

    async def __call__(self, job):
        self.job = job
        self.begun += 1
        try:
            await self.goes_on.wait()
            return f"result {self.begun}"
        finally:
            self.ended += 1


async def waiting(shared, work, count):
    tasks = [asyncio.create_task(shared.result("key", work)) for _ in range(count)]
    await asyncio.sleep(0.001)
    return tasks


async def test_work_that_several_wait_for_is_done_once_and_anew_for_those_after():
    shared, work = SingleFlight(), Work()
    tasks = await waiting(shared, work, 3)
    work.goes_on.set()
    assert await asyncio.gather(*tasks) == ["result 1"] * 3
    assert shared.under_way() == []
    assert await shared.result("key", work) == "result 2"


async def test_work_is_given_up_when_the_last_who_waited_has_gone():
    shared, work = SingleFlight(), Work()
    first, last = await waiting(shared, work, 2)
    first.cancel()
    await asyncio.sleep(0.001)
    assert work.ended == 0
    last.cancel()
    await asyncio.sleep(0.001)
    assert (work.ended, shared.under_way()) == (1, [])


async def test_who_comes_as_work_is_being_given_up_gets_a_result():
    shared, work = SingleFlight(), Work()
    (gone,) = await waiting(shared, work, 1)
    gone.cancel()
    await asyncio.sleep(0)
    work.goes_on.set()
    assert await shared.result("key", work) == "result 2"


async def test_who_leaves_work_that_was_given_up_does_not_end_what_was_begun_since():
    shared, work = SingleFlight(), Work()

    async def slow_to_end(_):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)

    (old,) = await waiting(shared, slow_to_end, 1)
    shared.give_up("key")
    (new,) = await waiting(shared, work, 1)
    old.cancel()
    await asyncio.sleep(0.001)
    work.goes_on.set()
    assert await new == "result 1"


async def test_wanted_work_is_finished_though_nobody_waits():
    shared, work = SingleFlight(), Work()
    task = shared.begin("key", work)
    (gone,) = await waiting(shared, work, 1)
    assert work.job.waiting == 1
    gone.cancel()
    await asyncio.sleep(0.001)
    assert work.job.waiting == 0
    work.goes_on.set()
    assert await task == "result 1"


async def test_who_waits_for_work_that_is_given_up_is_told():
    shared, work = SingleFlight(), Work()
    tasks = await waiting(shared, work, 2)
    shared.give_up("key")
    for task in tasks:
        with pytest.raises(GivenUp):
            await task


async def test_a_failure_reaches_everybody_who_waits_and_is_not_kept():
    shared = SingleFlight()

    async def fail(_):
        await asyncio.sleep(0.001)
        raise ValueError("broken")

    results = await asyncio.gather(*(shared.result("key", fail) for _ in range(2)), return_exceptions=True)
    assert [str(each) for each in results] == ["broken"] * 2
    assert shared.under_way() == []


async def test_closing_ends_everything():
    shared, work = SingleFlight(), Work()
    tasks = await waiting(shared, work, 1)
    await shared.aclose()
    assert work.ended == 1
    await asyncio.gather(*tasks, return_exceptions=True)
