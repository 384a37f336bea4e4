"""Which model version is served: the newest whose encoder and decoder carry one identity."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

import structlog

from frontend_api.errors import InferenceTimeout, NoModelInService, Unavailable, VersionGone
from frontend_api.inference import MODEL_NAMES, Inference, ModelName, VersionState
from frontend_api.metrics import Metrics
from frontend_api.segmentation.failures import FailedVersions, failed_to_load

log = structlog.stdlib.get_logger("imgr.model")

_HURRIED_SECONDS = 0.2
_RECHECK_EFFORT = 2.0  # an inconsistent pair is asked again after so many times the time that asking took


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A consistent pair of encoder and decoder.

    Attributes:
        version: version number in the model repository, the same in both models.
        identity: ``<variant>/<precision>/<digest>``, carried by both graphs.
        since: when it came into service here.
    """

    version: int
    identity: str
    since: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)

    @property
    def variant(self) -> str:
        """The architecture, for example ``vit_b``."""
        return self.identity.partition("/")[0]

    @property
    def precision(self) -> str:
        """The arithmetic, for example ``fp32``."""
        return self.identity.partition("/")[2].partition("/")[0]


Failures = Callable[[], Mapping[str, str]]
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
        failures: Failures | None = None,
    ) -> None:
        self._inference = inference
        self._metrics = metrics
        self._interval = interval
        self._patience = patience
        self._handover = handover
        self._told_failures = failures
        self._prepare: Prepare | None = None
        self._successor: ServedModel | None = None
        self._confirming: asyncio.Task[None] | None = None
        self._model: ServedModel | None = None
        self._problem = "the model server has not answered yet"
        self._told = ""  # the problem last logged
        # By version: the identities of encoder and decoder, and when to ask again if they differ.
        self._known: dict[int, tuple[tuple[str, str], float]] = {}
        self._lost = -math.inf  # when the last model went
        self._available = asyncio.Event()
        self._doubted: set[int] = set()
        self._both_asked: set[int] = set()  # versions whose encoder has spoken for itself
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
        if self._model is None:
            raise NoModelInService(f"no model can serve clicks: {self._problem}")
        return self._model

    async def in_service(self) -> ServedModel:
        """Return the pair in service; if it was lost just now, wait a little for the next.

        An operator who replaces two files does so one after the other. Raises NoModelInService.
        """
        patience = self._lost + self._patience - monotonic()
        if self._model is None and self.reachable and patience > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._available.wait()
        return self.current

    def before_handover(self, prepare: Prepare) -> None:
        """Have `prepare` called with a newer pair before it takes over."""
        self._prepare = prepare

    async def run(self) -> None:
        """Follow Triton's state until cancelled."""
        try:
            while True:
                await self._check()
                # While nothing is served somebody waits for it.
                await asyncio.sleep(self._interval if self._model else min(self._interval, _HURRIED_SECONDS))
        finally:
            self._stop_confirming()

    async def refresh(self, doubted: ServedModel) -> ServedModel:
        """Ask Triton anew because an answer contradicted `doubted`; return the pair now in service.

        Whoever comes while another asks waits for that answer instead of asking again.
        """
        async with self._lock:
            if self._model == doubted:
                self._known.pop(doubted.version, None)
                self._doubted.add(doubted.version)
                await self._look()
        return await self.in_service()

    async def _check(self) -> None:
        async with self._lock:
            await self._look()

    async def _look(self) -> None:
        try:
            states = await self._inference.versions()
            self.reachable = True
            newest = await self._newest_pair(states)
            self._note_failures(states)
            if newest is not None and newest != self._model and self._still_served():
                self._confirm(newest)
            elif newest != self._model:
                self._serve(newest)
        except (Unavailable, InferenceTimeout) as error:
            self.reachable = False
            self._problem = str(error)
            self._serve(None)

    async def _newest_pair(self, states: Mapping[ModelName, Mapping[int, VersionState]]) -> ServedModel | None:
        encoders, decoders = ({v for v, state in states[name].items() if state.ready} for name in MODEL_NAMES)
        common = sorted(encoders & decoders, reverse=True)
        self._known = {version: pair for version, pair in self._known.items() if version in common}
        problem = (
            "no version is ready in both sam_encoder and sam_decoder "
            f"(ready encoders: {_listed(encoders)}; ready decoders: {_listed(decoders)})"
        )
        for version in common:
            try:
                encoder, decoder = await self._identities(version)
            except (Unavailable, InferenceTimeout) as error:
                problem = f"version {version} does not answer: {error}"
                continue
            if encoder == decoder:
                return ServedModel(version, encoder)
            problem = _mismatch(version, encoder, decoder)
        self._problem = problem  # only now: meanwhile clicks are told the last one
        return None

    def _still_served(self) -> bool:
        """Tell whether the pair in service is ready still, as far as is known."""
        model = self._model
        return model is not None and self._known.get(model.version, ((), 0))[0] == (model.identity, model.identity)

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
            agrees = (
                model.version in self._both_asked
                or await self._inference.identity("sam_encoder", model.version) == model.identity
            )
            if agrees and self._prepare is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._handover):
                        await self._prepare(model)
        except VersionGone:
            agrees = True
            self._known.pop(model.version, None)
        except (Unavailable, InferenceTimeout):
            agrees = True  # for all we know; otherwise clicks will find out
        async with self._lock:
            if self._successor != model:
                return
            self._successor = self._confirming = None
            if not agrees:
                self._known.pop(model.version, None)
                self._doubted.add(model.version)
                await self._look()
            elif model.version in self._known:
                self._serve(ServedModel(model.version, model.identity))  # since now

    def _note_failures(self, states: Mapping[ModelName, Mapping[int, VersionState]]) -> None:
        reasons = failed_to_load(states) if self._told_failures is None else dict(self._told_failures())
        for version, (pair, _) in self._known.items():
            if pair[0] != pair[1]:
                reasons[f"pair/{version}"] = _mismatch(version, *pair)
        self._failed.note(reasons)

    async def _identities(self, version: int) -> tuple[str, str]:
        """Return what encoder and decoder of a version carry, asking only where it is unknown or was wrong.

        At first the decoder speaks for both, because asking an encoder can cost an encode; it is asked when the pair
        is about to take over from another, and every embedding brings its own identity and is compared before use.
        """
        pair, due = self._known.get(version, (("", ""), 0.0))
        if version in self._known and (pair[0] == pair[1] or monotonic() < due):
            return pair
        started = monotonic()
        decoder = await self._inference.identity("sam_decoder", version)
        doubted = version in self._doubted or version in self._known
        encoder = await self._inference.identity("sam_encoder", version) if doubted else decoder
        self._both_asked = self._both_asked - {version} | ({version} if doubted else set())
        pair = (encoder, decoder)
        asked = monotonic()
        self._known[version] = (pair, asked + _RECHECK_EFFORT * (asked - started))
        self._doubted.discard(version)
        return pair

    def _serve(self, model: ServedModel | None) -> None:
        if model is None and self._problem != self._told:
            never_served = self._model is None and self._lost == -math.inf  # Triton still loads its models
            (log.info if never_served else log.warning)("no model in service", problem=self._problem)
        self._told = self._problem if model is None else ""
        if model == self._model:
            return
        self._model = model
        if model is None:
            self._lost = monotonic()
            self._available.clear()
        else:
            self._available.set()
        self._metrics.model_info.clear()
        self._metrics.model_up.set(model is not None)
        self._metrics.model_since.set_to_current_time()
        if model is None:
            return
        self._metrics.model_info.labels(str(model.version), model.variant, model.precision, model.identity).set(1)
        log.info("model in service", version=model.version, identity=model.identity)


def _mismatch(version: int, encoder: str, decoder: str) -> str:
    return (
        f"version {version} pairs the encoder of {encoder} with the decoder of {decoder}; "
        "publish both from one checkpoint"
    )


def _listed(versions: set[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"
