"""Removes expired uploads, in each period by one of the replicas that share a store."""

import asyncio
import random
from datetime import timedelta
from time import time

import structlog

from frontend_api.errors import StoreUnavailable
from frontend_api.storage.image_store import ImageStore

log = structlog.stdlib.get_logger("imgr.store")

_SHORTEST_PERIOD = 60.0
_JITTER = 0.1  # of a period: replicas that were started together need not ask all at once


async def sweep(images: ImageStore, ttl: timedelta) -> None:
    """Expire uploads once in a tenth of their time to live, until cancelled.

    Listing a bucket costs money and time, so the replicas take turns: who creates the mark of a period sweeps in it.
    """
    period = max(_SHORTEST_PERIOD, ttl.total_seconds() / 10)
    while True:
        try:
            if await images.begin_sweep(int(time() // period)) and (count := await images.expire()):
                log.info("expired images removed", count=count)
        except StoreUnavailable as error:
            log.warning("expired images not removed", problem=str(error))
        except Exception:  # whatever it was, photos must not stay for ever
            log.exception("expired images not removed")
        await asyncio.sleep(period - time() % period + random.uniform(0, _JITTER * period))  # noqa: S311
