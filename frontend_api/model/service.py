"""The pair of encoder and decoder that serves clicks, or why there is none."""

import asyncio
import contextlib
import math
from collections.abc import Mapping
from time import monotonic

import structlog

from frontend_api.errors import InferenceTimeout, NoModelInService, Unavailable
from frontend_api.inference import MODEL_NAMES, Inference, ModelName
from frontend_api.metrics import Metrics
from frontend_api.model.failures import FailedVersions
from frontend_api.model.progress import Progress
from frontend_api.model.served_model import ServedModel
from frontend_api.model.supervisor import Supervisor
from frontend_api.model.versions import Versions

log = structlog.stdlib.get_logger("imgr.model")

_INDEX = "the model server"


class ModelService:
    """Keeps the newest consistent pair in service, as far as it is told to look.

    Identities come from the graphs themselves, so whatever an operator edits, an embedding of one
    checkpoint never meets another's decoder unnoticed.

    Args:
        inference: the model server.
        metrics: where the pair in service and the failed versions are shown.
        progress: what the models were asked and have answered.
        patience: seconds for which clicks wait for the next pair when one was lost.
        supervisor: of the model server, if it is our own.

    Attributes:
        reachable: whether the model server answered when last asked.
        successor: a newer pair that is to be prepared while the one in service, still fit, goes on.
    """

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        progress: Progress,
        *,
        patience: float,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._versions = Versions(inference)
        self._metrics = metrics
        self._progress = progress
        self._patience = patience
        self._supervisor = supervisor
        self._inference = inference
        self._failed = FailedVersions(metrics)
        self._lock = asyncio.Lock()
        self.reachable = False
        self.successor: ServedModel | None = None
        self._serving: ServedModel | None = None
        self._problem = "the model server has not answered yet"
        self._logged = ""  # the problem last logged
        self._lost = -math.inf  # when the last model went
        self._available = asyncio.Event()

    @property
    def failures(self) -> Mapping[str, str]:
        """What can't be served and why; see `FailedVersions`."""
        return self._failed.reasons

    @property
    def current(self) -> ServedModel:
        """The pair in service. Raises NoModelInService, which says why there is none."""
        if self._serving is None:
            raise NoModelInService(f"no model can serve clicks: {self._problem}")
        return self._serving

    async def in_service(self) -> ServedModel:
        """Return the pair in service; if it was lost just now, wait a little for the next.

        An operator who replaces two files does so one after the other, and a Triton that died is started anew.
        Raises NoModelInService.
        """
        patience = self._lost + self._patience - monotonic()
        if self._serving is None and patience > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._available.wait()
        return self.current

    async def look(self) -> None:
        """Ask the model server what it holds, and act on it."""
        async with self._lock:
            await self._look()

    async def refresh(self, doubted: ServedModel) -> ServedModel:
        """Ask the model server anew because an answer contradicted `doubted`; return the pair now in service.

        Whoever comes while another asks waits for that answer instead of asking again. Raises NoModelInService.
        """
        async with self._lock:
            if self._serving == doubted:
                self._versions.doubt(doubted)
                await self._look()
        return await self.in_service()

    async def examine(self, suspected: ServedModel) -> None:
        """Try a version whose answer held no numbers on a blank image, and take it out of service if it fails there.

        A single image, which a stranger chose, is not enough for that.
        """
        async with self._lock:
            try:
                await self._versions.examine(suspected)
            except (Unavailable, InferenceTimeout) as error:
                log.warning("a suspected version could not be tried", version=suspected.version, error=str(error))
            if suspected in (self._serving, self.successor) and not self._versions.hold(suspected):
                await self._look()

    async def probe(self) -> None:
        """Ask a question of the models that left others unanswered and whom nobody asks now: perhaps they hang."""
        model = self._serving
        if model is None:
            return

        async def ask(name: ModelName) -> None:
            with contextlib.suppress(Unavailable, InferenceTimeout), self._progress.asked(name):
                await self._inference.identity(name, model.version)

        given_up = self._progress.given_up()
        await asyncio.gather(*(ask(name) for name in MODEL_NAMES if name in given_up))

    async def confirm(self, successor: ServedModel) -> None:
        """Have the encoder of a newer pair confirm its identity. Raises NoModelInService if it does not."""
        await self._versions.confirm(successor)
        if not self._versions.hold(successor):
            await self.look()
            raise NoModelInService(f"version {successor.version} was replaced before it came into service")

    async def succeed(self, successor: ServedModel) -> None:
        """Put a newer pair into service, unless something has come between."""
        async with self._lock:
            if self.reachable and self.successor == successor and self._versions.hold(successor):
                self._serve(ServedModel(successor.version, successor.identity))  # since now

    async def _look(self) -> None:
        self.successor = None
        if self._serving is not None and (hung := self._progress.hung()):
            self._give_up(self._serving, hung)
            return
        try:
            with self._progress.asked(_INDEX):
                await self._versions.look()
        except (Unavailable, InferenceTimeout) as error:
            self.reachable = False
            self._lose(str(error))
            if self._supervisor is not None and _INDEX in self._progress.hung():
                self._progress.forget()
                self._supervisor.restart()
            return
        self.reachable = True
        try:
            newest = await self._versions.newest()
        except NoModelInService as error:
            self._lose(str(error))
        else:
            if newest != self._serving and self._serving is not None and self._versions.hold(self._serving):
                self.successor = newest
            else:
                self._serve(newest)
        failures = self._versions.load_failures() if self._supervisor is None else self._supervisor.failures()
        self._failed.note({**failures, **self._versions.failures()})

    def _serve(self, model: ServedModel) -> None:
        self._logged = ""
        self.successor = None
        if model == self._serving:
            return
        self._serving = model
        self._progress.forget()
        self._available.set()
        self._show()
        self._metrics.model_info.labels(str(model.version), model.variant, model.precision, model.identity).set(1)
        log.info("model in service", version=model.version, identity=model.identity)

    def _lose(self, problem: str) -> None:
        """Take whatever serves out of service, and remember why."""
        self._problem = problem
        if problem != self._logged:
            never_served = self._serving is None and self._lost == -math.inf  # Triton still loads its models
            (log.info if never_served else log.warning)("no model in service", problem=problem)
            self._logged = problem
        if self._serving is None:
            return
        self._serving = None
        self._lost = monotonic()
        self._available.clear()
        self._show()

    def _give_up(self, model: ServedModel, hung: set[str]) -> None:
        """Take a pair that hangs out of service until the model server is new, or both have told their identity."""
        self._progress.forget()
        self._lose(f"{' and '.join(sorted(hung))} left clicks without an answer for {self._progress.hang:g} seconds")
        if self._supervisor is not None:
            self._supervisor.restart()
        else:
            self._versions.doubt(model)

    def _show(self) -> None:
        self._metrics.model_info.clear()
        self._metrics.model_up.set(self._serving is not None)
        self._metrics.model_since.set_to_current_time()
