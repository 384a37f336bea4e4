"""Sweeps: the first at the start, then one in each period; no error ends them."""

import asyncio
from datetime import timedelta

import pytest

from frontend_api.errors import StoreUnavailable
from frontend_api.storage import sweep as module
from frontend_api.storage.sweep import sweep

PERIOD = 360.0


class Images:
    """Counts sweeps; another replica was faster in period 3."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.swept = []

    async def begin_sweep(self, period):
        self.period = period
        return period != 3

    async def expire(self):
        self.swept.append(self.period)
        if self.errors:
            raise self.errors.pop(0)
        return 1


async def test_the_first_sweep_is_at_the_start_and_no_error_ends_the_sweeps(monkeypatch):
    images, now = Images(StoreUnavailable("away"), RuntimeError("unforeseen")), 100.0

    async def sleep(seconds):
        nonlocal now
        now += seconds
        assert now // PERIOD == images.period + 1, "it waits for the next period"
        if images.period == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(module, "time", lambda: now)
    with pytest.raises(asyncio.CancelledError):
        await sweep(images, timedelta(seconds=10 * PERIOD))
    assert images.swept == [0, 1, 2, 4]
