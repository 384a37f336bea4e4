"""Which model version is served: the newest whose encoder and decoder carry one identity."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

import structlog

from frontend_api.errors import InferenceTimeout, NoModelInService, Unavailable
from frontend_api.inference import MODEL_NAMES, Inference, ModelName, VersionState
from frontend_api.metrics import Metrics

log = structlog.stdlib.get_logger("imgr.model")

_RECHECK_SECONDS = 10.0  # an inconsistent pair is asked again this often; asking may cost an encode


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


class ModelWatch:
    """Follows Triton's model repository and names the pair in service.

    Identities come from the graphs themselves, so whatever an operator edits, an embedding of one
    checkpoint never meets another's decoder unnoticed.
    """

    def __init__(self, inference: Inference, metrics: Metrics, interval: float) -> None:
        self._inference = inference
        self._metrics = metrics
        self._interval = interval
        self._model: ServedModel | None = None
        self._problem = "the model server has not answered yet"
        # By version: the identities of encoder and decoder, and when they were asked for.
        self._known: dict[int, tuple[tuple[str, str], float]] = {}
        self._doubted: set[int] = set()
        self._lock = asyncio.Lock()
        self.reachable = False
        self.failures: dict[str, str] = {}

    @property
    def current(self) -> ServedModel:
        """The pair in service. Raises NoModelInService, which says why there is none."""
        if self._model is None:
            raise NoModelInService(f"no model can serve clicks: {self._problem}")
        return self._model

    async def run(self) -> None:
        """Follow Triton's state until cancelled."""
        while True:
            await self._check()
            await asyncio.sleep(self._interval)

    async def refresh(self, doubted: ServedModel) -> ServedModel:
        """Ask Triton anew because an answer contradicted `doubted`; return the pair now in service."""
        async with self._lock:
            if self._model == doubted:
                self._known.pop(doubted.version, None)
                self._doubted.add(doubted.version)
                self._model = None
        await self._check()
        return self.current

    async def _check(self) -> None:
        async with self._lock:
            try:
                states = await self._inference.versions()
                self.reachable = True
                self._serve(await self._newest_pair(states))
            except (Unavailable, InferenceTimeout) as error:
                self.reachable = False
                self._problem = str(error)
                self._serve(None)

    async def _newest_pair(self, states: Mapping[ModelName, Mapping[int, VersionState]]) -> ServedModel | None:
        self.failures = {
            f"{name}/{version}": state.reason
            for name, versions in states.items()
            for version, state in versions.items()
            if not state.ready and state.reason and state.reason != "unloaded"
        }
        encoders, decoders = ({v for v, state in states[name].items() if state.ready} for name in MODEL_NAMES)
        common = sorted(encoders & decoders, reverse=True)
        self._known = {version: pair for version, pair in self._known.items() if version in common}
        self._problem = (
            "no version is ready in both sam_encoder and sam_decoder "
            f"(ready encoders: {_listed(encoders)}; ready decoders: {_listed(decoders)})"
        )
        for version in common:
            encoder, decoder = await self._identities(version)
            if encoder == decoder:
                return ServedModel(version, encoder)
            self._problem = (
                f"version {version} pairs the encoder of {encoder} with the decoder of {decoder}; "
                "publish both from one checkpoint"
            )
        return None

    async def _identities(self, version: int) -> tuple[str, str]:
        """Return what encoder and decoder of a version carry, asking only where it is unknown or was wrong.

        At first the decoder speaks for both, because asking an encoder can cost an encode; every embedding
        brings its own identity and is compared before use.
        """
        pair, asked = self._known.get(version, (None, 0.0))
        if pair is None and version not in self._doubted:
            decoder = await self._inference.identity("sam_decoder", version)
            pair = (decoder, decoder)
            self._known[version] = (pair, monotonic())
        elif pair is None or (pair[0] != pair[1] and monotonic() - asked > _RECHECK_SECONDS):
            encoder, decoder = [await self._inference.identity(name, version) for name in MODEL_NAMES]
            pair = (encoder, decoder)
            self._known[version] = (pair, monotonic())
            self._doubted.discard(version)
        return pair

    def _serve(self, model: ServedModel | None) -> None:
        if model == self._model:
            return
        self._model = model
        self._metrics.model_info.clear()
        self._metrics.model_up.set(model is not None)
        if model is None:
            log.warning("no model in service", problem=self._problem)
            return
        self._metrics.model_info.labels(str(model.version), model.variant, model.precision, model.identity).set(1)
        log.info("model in service", version=model.version, identity=model.identity)


def _listed(versions: set[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"
