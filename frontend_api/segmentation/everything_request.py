"""What a search for everything carries."""

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict, WithJsonSchema

from frontend_api.errors import InvalidRequest
from frontend_api.masks.proposals import Thresholds
from frontend_api.segmentation.request_fields import Number, or_refused


class Outline(StrEnum):
    """A form in which an object's mask can be had."""

    RLE = "rle"
    POLYGONS = "polygons"


def _refused(sentence: str) -> object:
    return or_refused(sentence, InvalidRequest)


_Share = Annotated[Number, Field(ge=0, le=1)]


class EverythingRequest(BaseModel):
    """How to search a photo; the defaults are those of SAM's own generator, but for the grid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: Annotated[int, Strict(), Field(ge=1, le=64), _refused("grid must be a whole number from 1 to 64")] = Field(
        8, description="points to a side; each is asked once. SAM's own generator has 32"
    )
    min_score: Annotated[_Share, _refused("min_score must be a number from 0 to 1")] = Field(
        0.88, description="SAM's predicted IoU must be above this"
    )
    min_stability: Annotated[_Share, _refused("min_stability must be a number from 0 to 1")] = Field(
        0.95, description="IoU of the masks at logits above +1 and above −1, at least"
    )
    max_overlap: Annotated[_Share, _refused("max_overlap must be a number from 0 to 1")] = Field(
        0.7, description="of masks whose boxes have an IoU above this, the one with the best score is kept"
    )
    min_area: Annotated[
        int, Strict(), Field(ge=0, le=2**31), _refused("min_area must be a whole number of pixels, not negative")
    ] = Field(0, description="pixels, at least")
    outputs: Annotated[
        frozenset[Outline],
        Field(min_length=1),
        _refused(f"outputs must be a list of some of {', '.join(Outline)}"),
        WithJsonSchema({"type": "array", "items": {"enum": list(Outline)}, "minItems": 1, "uniqueItems": True}),
    ] = Field(default_factory=lambda: frozenset({Outline.RLE}), description="the forms of masks. Default: rle")

    @property
    def thresholds(self) -> Thresholds:
        """What a mask must have to count."""
        return Thresholds(self.min_score, self.min_stability, self.min_area)

    @property
    def digest(self) -> str:
        """A name for these parameters."""
        values = self.model_dump() | {"outputs": sorted(self.outputs)}
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
