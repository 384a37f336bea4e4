"""The versions of encoder and decoder: what the model server says of them, and their graphs of themselves."""

from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from frontend_api.errors import InferenceTimeout, NoModelInService, Unavailable, VersionGone
from frontend_api.images.preprocessing import MODEL_SIDE
from frontend_api.images.prompts import MASK_SIDE, NOT_A_POINT, PADDING, ModelPrompt
from frontend_api.inference import Inference, ModelName, VersionState
from frontend_api.model.served_model import ServedModel

_ABSENT = VersionState(ready=False)
_BLANK_IMAGE = np.zeros((MODEL_SIDE, MODEL_SIDE, 3), np.uint8)
_CENTRE = ModelPrompt(
    point_coords=np.full((4, 2), MODEL_SIDE / 2, np.float32),
    point_labels=np.array([1, NOT_A_POINT, PADDING, PADDING], np.int32),
    mask_input=np.zeros((1, MASK_SIDE, MASK_SIDE), np.float32),
    has_mask_input=np.zeros(1, np.float32),
)
_RECHECK_EFFORT = 2.0  # an inconsistent pair is asked again after so many times the time that asking took


@dataclass(eq=False, slots=True)
class Version:
    """What is known of one version.

    Attributes:
        number: in the model repository, the same for encoder and decoder.
        encoder: its state in the model server.
        decoder: its state in the model server.
        encoder_identity: which checkpoint its graph carries; None while the decoder speaks for both.
        decoder_identity: which checkpoint its graph carries; None until it is asked.
        doubted: whether an answer contradicted them, so that the encoder is asked too.
        ask_again: when a pair that can't be served is asked anew, in seconds of the monotonic clock.
        tried: which model failed on a blank image, None if neither did, by the identity that was tried.
    """

    number: int
    encoder: VersionState = _ABSENT
    decoder: VersionState = _ABSENT
    encoder_identity: str | None = None
    decoder_identity: str | None = None
    doubted: bool = False
    ask_again: float = 0.0
    tried: dict[str, ModelName | None] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether the model server has both loaded."""
        return self.encoder.ready and self.decoder.ready

    @property
    def mismatched(self) -> bool:
        """Whether encoder and decoder are known not to belong together."""
        return self.encoder_identity not in {None, self.decoder_identity}

    @property
    def identity(self) -> str | None:
        """What both carry, ``<variant>/<precision>/<digest>``; None while it is unknown or can't be served."""
        return self.decoder_identity if self.failure is None else None

    @property
    def failure(self) -> tuple[str, str] | None:
        """Why it can't be served although it is loaded: ``model/version``, or ``pair/version``, and the reason."""
        if self.mismatched:
            return f"pair/{self.number}", (
                f"version {self.number} pairs the encoder of {self.encoder_identity} with the decoder of "
                f"{self.decoder_identity}; publish both from one checkpoint"
            )
        broken = self.tried.get(self.decoder_identity or "")
        if broken is None:
            return None
        return f"{broken}/{self.number}", (
            f"version {self.number} of {broken} answers with values that are no finite numbers; publish a sound export"
        )

    def load_failures(self) -> dict[str, str]:
        """Return by ``model/version`` why the model server could not load it."""
        states = {"sam_encoder": self.encoder, "sam_decoder": self.decoder}
        return {
            f"{name}/{self.number}": state.reason
            for name, state in states.items()
            if not state.ready and state.reason and state.reason != "unloaded"
        }

    def forget(self) -> None:
        """Have the graphs asked anew."""
        self.encoder_identity = self.decoder_identity = None


class Versions:
    """All versions that the model server knows.

    Identities are asked only where they are unknown or were wrong. At first the decoder speaks for both, because
    asking an encoder can cost an encode; it is asked when the pair is about to take over from another, and every
    embedding brings its own identity and is compared before use.

    Args:
        inference: the model server.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._versions: dict[int, Version] = {}

    async def look(self) -> None:
        """Take the states from the model server. Raises what `Inference` does."""
        states = await self._inference.versions()
        encoders, decoders = states["sam_encoder"], states["sam_decoder"]
        known, self._versions = self._versions, {}
        for number in sorted(encoders.keys() | decoders.keys(), reverse=True):
            version = self._versions[number] = known.get(number, Version(number))
            version.encoder = encoders.get(number, _ABSENT)
            version.decoder = decoders.get(number, _ABSENT)
            if not version.ready:
                version.forget()
                version.tried.clear()

    async def newest(self) -> ServedModel:
        """Return the newest version that can be served. Raises NoModelInService, which says why there is none."""
        versions = self._versions.values()
        encoders, decoders = ([v for v in versions if v.encoder.ready], [v for v in versions if v.decoder.ready])
        problem = (
            "no version is ready in both sam_encoder and sam_decoder "
            f"(ready encoders: {_listed(encoders)}; ready decoders: {_listed(decoders)})"
        )
        for version in filter(lambda version: version.ready, versions):
            try:
                await self._ask(version)
            except (Unavailable, InferenceTimeout) as error:
                problem = f"version {version.number} does not answer: {error}"
                continue
            if version.identity is not None:
                return ServedModel(version.number, version.identity)
            if version.failure is not None:
                problem = version.failure[1]
        raise NoModelInService(problem)

    async def confirm(self, model: ServedModel) -> None:
        """Have the encoder say itself what the decoder said for both. Raises what `Inference` does."""
        version = self._versions.get(model.version)
        if version is None or version.encoder_identity is not None:
            return
        try:
            version.encoder_identity = await self._inference.identity("sam_encoder", model.version)
        except VersionGone:
            version.forget()
            raise

    async def examine(self, model: ServedModel) -> None:
        """Try a version on a blank image, once, and note which model is broken. Raises what `Inference` does."""
        version = self._versions.get(model.version)
        if version is None or version.identity != model.identity or model.identity in version.tried:
            return
        embedding = await self._inference.encode(model.version, _BLANK_IMAGE, (MODEL_SIDE, MODEL_SIDE))
        broken: ModelName | None = None if embedding.finite else "sam_encoder"
        if embedding.finite:
            masks = await self._inference.decode(model.version, embedding, _CENTRE)
            broken = None if masks.finite else "sam_decoder"
        version.tried[model.identity] = broken

    def hold(self, model: ServedModel) -> bool:
        """Tell whether a version is ready and nothing contradicts its identity, as far as is known."""
        version = self._versions.get(model.version)
        return version is not None and version.identity == model.identity

    def doubt(self, model: ServedModel) -> None:
        """Have a version asked anew, its encoder too."""
        if version := self._versions.get(model.version):
            version.forget()
            version.doubted = True

    def load_failures(self) -> dict[str, str]:
        """Return by ``model/version`` what could not be loaded; the model server remembers what is gone as well."""
        return {name: reason for version in self._versions.values() for name, reason in version.load_failures().items()}

    def failures(self) -> dict[str, str]:
        """Return by ``model/version`` or ``pair/version`` why what is loaded can't be served."""
        return dict(version.failure for version in self._versions.values() if version.failure is not None)

    async def _ask(self, version: Version) -> None:
        if version.identity is not None or (version.failure is not None and monotonic() < version.ask_again):
            return
        started = monotonic()
        both = version.doubted or version.mismatched
        decoder = await self._inference.identity("sam_decoder", version.number)
        version.encoder_identity = await self._inference.identity("sam_encoder", version.number) if both else None
        version.decoder_identity = decoder
        version.doubted = False
        asked = monotonic()
        version.ask_again = asked + _RECHECK_EFFORT * (asked - started)


def _listed(versions: list[Version]) -> str:
    return ", ".join(str(version.number) for version in reversed(versions)) or "none"
