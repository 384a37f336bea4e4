"""The boundary to the model server: what the adapter needs of it, and the values that cross."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from frontend_api.images.prompts import ModelPrompt

ModelName = Literal["sam_encoder", "sam_decoder"]
MODEL_NAMES: tuple[ModelName, ModelName] = ("sam_encoder", "sam_decoder")
EMBEDDING_SHAPE = (256, 64, 64)
EMBEDDING_BYTES = 4 * math.prod(EMBEDDING_SHAPE)


@dataclass(frozen=True, slots=True)
class VersionState:
    """What the model server says of one version: whether it is ready, and if not, why."""

    ready: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Embedding:
    """An encoded image.

    Attributes:
        values: float32 ``(256, 64, 64)``.
        identity: of the checkpoint and export that made it.
    """

    values: NDArray[np.float32]
    identity: str

    @property
    def finite(self) -> bool:
        """Whether all values are finite numbers; those of a broken model need not be."""
        return bool(np.isfinite(self.values).all())


@dataclass(frozen=True, slots=True)
class Masks:
    """SAM's three multimask candidates for one prompt, in the decoder's order.

    Attributes:
        logits: float32 ``(3, 256, 256)``, low resolution; positive is foreground.
        scores: float32 ``(3,)``, predicted IoU.
        identity: of the checkpoint and export that made them.
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float32]
    identity: str

    @property
    def finite(self) -> bool:
        """Whether all values are finite numbers; those of a broken model need not be."""
        return bool(np.isfinite(self.logits).all() and np.isfinite(self.scores).all())


class Inference(Protocol):
    """A model server holding versions of `sam_encoder` and `sam_decoder`.

    Every method raises `TritonUnavailable` when the server does not answer, `VersionGone` when the
    version is no longer served, `Saturated` when its queue is full and `InferenceTimeout`.
    """

    async def versions(self) -> Mapping[ModelName, Mapping[int, VersionState]]:
        """Return the state of every version of both models."""

    async def identity(self, model: ModelName, version: int) -> str:
        """Return the identity constant of a model version: ``<variant>/<precision>/<digest>``."""

    async def encode(self, version: int, image: NDArray[np.uint8], size: tuple[int, int]) -> Embedding:
        """Encode an image in the model's frame: uint8 ``(1024, 1024, 3)``, `size` its valid (height, width)."""

    async def decode(self, version: int, embedding: Embedding, prompt: ModelPrompt) -> Masks:
        """Decode one prompt on one embedding."""
