"""The pair that serves clicks, or why there is none."""

import asyncio
import contextlib
import math
from time import monotonic

import structlog

from frontend_api.errors import NoModelInService
from frontend_api.metrics import Metrics
from frontend_api.model.served_model import ServedModel

log = structlog.stdlib.get_logger("imgr.model")


class ServiceState:
    """What `ModelWatch` has put into service, told to clicks, metrics and the log.

    Args:
        metrics: where the pair in service is shown.
        patience: seconds for which clicks wait for the next pair when one was lost.
    """

    def __init__(self, metrics: Metrics, patience: float) -> None:
        self._metrics = metrics
        self._patience = patience
        self.model: ServedModel | None = None
        self._problem = "the model server has not answered yet"
        self._logged = ""  # the problem last logged
        self._lost = -math.inf  # when the last model went
        self._available = asyncio.Event()

    @property
    def current(self) -> ServedModel:
        """The pair in service. Raises NoModelInService, which says why there is none."""
        if self.model is None:
            raise NoModelInService(f"no model can serve clicks: {self._problem}")
        return self.model

    async def soon(self) -> ServedModel:
        """Return the pair in service; if it was lost just now, wait a little for the next.

        An operator who replaces two files does so one after the other. Raises NoModelInService.
        """
        patience = self._lost + self._patience - monotonic()
        if self.model is None and patience > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._available.wait()
        return self.current

    def serve(self, model: ServedModel) -> None:
        """Put a pair into service."""
        self._logged = ""
        if model == self.model:
            return
        self.model = model
        self._available.set()
        self._show()
        self._metrics.model_info.labels(str(model.version), model.variant, model.precision, model.identity).set(1)
        log.info("model in service", version=model.version, identity=model.identity)

    def lose(self, problem: str) -> None:
        """Take whatever serves out of service, and remember why."""
        self._problem = problem
        if problem != self._logged:
            never_served = self.model is None and self._lost == -math.inf  # Triton still loads its models
            (log.info if never_served else log.warning)("no model in service", problem=problem)
            self._logged = problem
        if self.model is None:
            return
        self.model = None
        self._lost = monotonic()
        self._available.clear()
        self._show()

    def _show(self) -> None:
        self._metrics.model_info.clear()
        self._metrics.model_up.set(self.model is not None)
        self._metrics.model_since.set_to_current_time()
