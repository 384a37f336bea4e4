"""Follows the model repository: the newest consistent pair is served, and told when it changes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import structlog

from frontend_api.errors import InferenceTimeout, Unavailable, VersionGone
from frontend_api.inference import Inference, ModelName, VersionState
from frontend_api.metrics import Metrics
from frontend_api.model.failures import FailedVersions, failed_to_load
from frontend_api.model.served_model import ServedModel
from frontend_api.model.service_state import ServiceState
from frontend_api.model.versions import Pairs

log = structlog.stdlib.get_logger("imgr.model")

_HURRIED_SECONDS = 0.2

LoadFailures = Callable[[], Mapping[str, str]]
Prepare = Callable[[ServedModel], Awaitable[None]]


class ModelWatch:
    """Follows Triton's model repository and names the pair in service.

    Identities come from the graphs themselves, so whatever an operator edits, an embedding of one
    checkpoint never meets another's decoder unnoticed.

    A newer pair takes over once its encoder has confirmed its identity and the images in use are encoded by it; the
    pair before it serves meanwhile.

    Args:
        inference: the model server.
        metrics: where the pair in service and the failed versions are shown.
        interval: seconds between two looks at the repository.
        patience: seconds for which clicks wait for the next pair when one was lost.
        handover: the most seconds for which a newer pair waits until images in use are encoded by it.
        failures: what can't be loaded and why, from who knows better than Triton's index, which remembers failures of
            versions that are gone and says nothing of a ``config.pbtxt`` that can't be read.
    """

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        *,
        interval: float,
        patience: float,
        handover: float,
        failures: LoadFailures | None = None,
    ) -> None:
        self._inference = inference
        self._pairs = Pairs(inference)
        self._state = ServiceState(metrics, patience)
        self._interval = interval
        self._handover = handover
        self._known_failures = failures
        self._prepare: Prepare | None = None
        self._successor: ServedModel | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._failed = FailedVersions(metrics)
        self.reachable = False

    @property
    def failures(self) -> Mapping[str, str]:
        """What can't be served and why; see `FailedVersions`."""
        return self._failed.reasons

    @property
    def current(self) -> ServedModel:
        """The pair in service. Raises NoModelInService, which says why there is none."""
        return self._state.current

    async def in_service(self) -> ServedModel:
        """Return the pair in service; if it was lost just now, wait a little for the next. Raises NoModelInService."""
        return await self._state.soon() if self.reachable else self._state.current

    def before_handover(self, prepare: Prepare) -> None:
        """Have `prepare` called with a newer pair before it takes over."""
        self._prepare = prepare

    async def run(self) -> None:
        """Follow Triton's state until cancelled."""
        try:
            while True:
                try:
                    await self._check()
                except Exception:  # a watch that ended would leave this replica with the model of that moment
                    log.exception("the model server's answer was not understood")
                # While nothing is served somebody waits for it.
                await asyncio.sleep(self._interval if self._state.model else min(self._interval, _HURRIED_SECONDS))
        finally:
            self._stop_confirming()

    async def refresh(self, doubted: ServedModel) -> ServedModel:
        """Ask Triton anew because an answer contradicted `doubted`; return the pair now in service.

        Whoever comes while another asks waits for that answer instead of asking again.
        """
        async with self._lock:
            if self._state.model == doubted:
                self._pairs.doubt(doubted.version)
                await self._look()
        return await self.in_service()

    async def _check(self) -> None:
        async with self._lock:
            await self._look()

    async def _look(self) -> None:
        try:
            states = await self._inference.versions()
            self.reachable = True
            newest = await self._pairs.newest(states)
            self._note_failures(states)
            serving = self._state.model
            if isinstance(newest, str):
                self._state.lose(newest)
            elif newest != serving:
                if serving is not None and self._pairs.ready(serving):
                    self._confirm(newest)
                else:
                    self._state.serve(newest)
        except (Unavailable, InferenceTimeout) as error:
            self.reachable = False
            self._state.lose(str(error))

    def _confirm(self, model: ServedModel) -> None:
        """Ask the encoder of a newer pair for its identity, and let the pair take over."""
        if self._successor != model:
            self._stop_confirming()
            self._successor = model
            self._confirming = asyncio.create_task(self._confirmed(model))

    def _stop_confirming(self) -> None:
        self._successor = None
        if self._confirming is not None:
            self._confirming.cancel()

    async def _confirmed(self, model: ServedModel) -> None:
        try:
            agrees = await self._pairs.agrees(model)
            if agrees and self._prepare is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._handover):
                        await self._prepare(model)
        except VersionGone:
            agrees = True
            self._pairs.forget(model.version)
        except (Unavailable, InferenceTimeout):
            agrees = True  # for all we know; otherwise clicks will find out
        except Exception:
            log.exception("a newer model takes over unprepared", version=model.version)
            agrees = True
        async with self._lock:
            if self._successor != model:
                return
            self._successor = self._confirming = None
            if not agrees:
                self._pairs.doubt(model.version)
                await self._look()
            elif self.reachable and self._pairs.knows(model.version):
                self._state.serve(ServedModel(model.version, model.identity))  # since now

    def _note_failures(self, states: Mapping[ModelName, Mapping[int, VersionState]]) -> None:
        reasons = failed_to_load(states) if self._known_failures is None else dict(self._known_failures())
        self._failed.note(reasons | self._pairs.mismatches())
