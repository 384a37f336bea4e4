"""Which checkpoint each version's encoder and decoder carry, as the graphs themselves say."""

from collections.abc import Mapping
from time import monotonic

from frontend_api.errors import InferenceTimeout, Unavailable
from frontend_api.inference import MODEL_NAMES, Inference, ModelName, VersionState
from frontend_api.model.served_model import ServedModel

_RECHECK_EFFORT = 2.0  # an inconsistent pair is asked again after so many times the time that asking took


class Pairs:
    """Identities by version, asked only where they are unknown or were wrong.

    At first the decoder speaks for both, because asking an encoder can cost an encode; it is asked when the pair is
    about to take over from another, and every embedding brings its own identity and is compared before use.

    Args:
        inference: the model server.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        # By version: the identities of encoder and decoder, and when to ask again if they differ.
        self._known: dict[int, tuple[tuple[str, str], float]] = {}
        self._doubted: set[int] = set()
        self._both_asked: set[int] = set()  # versions whose encoder has spoken for itself

    async def newest(self, states: Mapping[ModelName, Mapping[int, VersionState]]) -> ServedModel | str:
        """Return the newest consistent pair of versions that are ready, or why there is none."""
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
        return problem

    async def agrees(self, model: ServedModel) -> bool:
        """Tell whether the encoder itself says what the decoder said for both. Raises what Inference does."""
        if model.version in self._both_asked:
            return True
        return await self._inference.identity("sam_encoder", model.version) == model.identity

    def ready(self, model: ServedModel) -> bool:
        """Tell whether the pair was consistent when last asked, and its version still ready."""
        return self._known.get(model.version, ((), 0))[0] == (model.identity, model.identity)

    def knows(self, version: int) -> bool:
        """Tell whether something is known of a version."""
        return version in self._known

    def forget(self, version: int) -> None:
        """Ask a version anew."""
        self._known.pop(version, None)

    def doubt(self, version: int) -> None:
        """Ask a version anew, its encoder too."""
        self.forget(version)
        self._doubted.add(version)

    def mismatches(self) -> dict[str, str]:
        """Return by ``pair/<version>`` what is wrong with inconsistent pairs."""
        differing = ((version, pair) for version, (pair, _) in self._known.items() if pair[0] != pair[1])
        return {f"pair/{version}": _mismatch(version, *pair) for version, pair in differing}

    async def _identities(self, version: int) -> tuple[str, str]:
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


def _mismatch(version: int, encoder: str, decoder: str) -> str:
    return (
        f"version {version} pairs the encoder of {encoder} with the decoder of {decoder}; "
        "publish both from one checkpoint"
    )


def _listed(versions: set[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"
