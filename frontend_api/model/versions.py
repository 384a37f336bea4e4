"""The versions of encoder and decoder: what the model server says of them, and their graphs of themselves."""

from dataclasses import dataclass
from time import monotonic

from frontend_api.errors import InferenceTimeout, NoModelInService, Unavailable, VersionGone
from frontend_api.inference import Inference, VersionState
from frontend_api.model.served_model import ServedModel

_ABSENT = VersionState(ready=False)
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
        ask_again: when a pair that does not belong together is asked anew, in seconds of the monotonic clock.
    """

    number: int
    encoder: VersionState = _ABSENT
    decoder: VersionState = _ABSENT
    encoder_identity: str | None = None
    decoder_identity: str | None = None
    doubted: bool = False
    ask_again: float = 0.0

    @property
    def identity(self) -> str | None:
        """What both carry: ``<variant>/<precision>/<digest>``; None while it is unknown or they differ."""
        return self.decoder_identity if self.encoder_identity in {None, self.decoder_identity} else None

    @property
    def mismatch(self) -> str | None:
        """Why encoder and decoder can't be served together, if that is known."""
        if self.decoder_identity is None or self.identity is not None:
            return None
        return (
            f"version {self.number} pairs the encoder of {self.encoder_identity} with the decoder of "
            f"{self.decoder_identity}; publish both from one checkpoint"
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
            if not (version.encoder.ready and version.decoder.ready):
                version.forget()

    async def newest(self) -> ServedModel:
        """Return the newest version that can be served. Raises NoModelInService, which says why there is none."""
        versions = self._versions.values()
        encoders, decoders = ([v for v in versions if v.encoder.ready], [v for v in versions if v.decoder.ready])
        problem = (
            "no version is ready in both sam_encoder and sam_decoder "
            f"(ready encoders: {_listed(encoders)}; ready decoders: {_listed(decoders)})"
        )
        for version in encoders:
            if not version.decoder.ready:
                continue
            try:
                await self._ask(version)
            except (Unavailable, InferenceTimeout) as error:
                problem = f"version {version.number} does not answer: {error}"
                continue
            if version.identity is not None:
                return ServedModel(version.number, version.identity)
            problem = version.mismatch or problem
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

    def mismatches(self) -> dict[str, str]:
        """Return by ``pair/version`` where encoder and decoder don't belong together."""
        return {f"pair/{number}": version.mismatch for number, version in self._versions.items() if version.mismatch}

    async def _ask(self, version: Version) -> None:
        if version.identity is not None or (version.mismatch and monotonic() < version.ask_again):
            return
        started = monotonic()
        both = version.doubted or version.mismatch is not None
        decoder = await self._inference.identity("sam_decoder", version.number)
        version.encoder_identity = await self._inference.identity("sam_encoder", version.number) if both else None
        version.decoder_identity = decoder
        version.doubted = False
        asked = monotonic()
        version.ask_again = asked + _RECHECK_EFFORT * (asked - started)


def _listed(versions: list[Version]) -> str:
    return ", ".join(str(version.number) for version in reversed(versions)) or "none"
