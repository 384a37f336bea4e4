"""What a click carries: the one description of it, by which it is checked and which OpenAPI shows.

A form brings lists and numbers as JSON strings, JSON brings them as they are; both mean the same.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from starlette.datastructures import UploadFile

from frontend_api.errors import InvalidField, InvalidPrompt
from frontend_api.masks.candidates import Crop, Output, PictureFormat, Rendering
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.segmentation.request_fields import (
    APoint,
    Box,
    Count,
    CropTo,
    Format,
    Label,
    Logits,
    Method,
    Outputs,
    Quality,
    Width,
    short_list,
    shown,
    uuid_of,
)
from frontend_api.settings import Settings

_JSON_FIELDS = {"points", "labels", "box", "feather_width", "outputs", "candidates", "quality", "logits"}
_NUMBERS = re.compile(r"[-+.\deE]+(\s*,\s*[-+.\deE]+)*")
_WORDS = re.compile(r"\w+(\s*,\s*\w+)*")


class RunRequest(BaseModel):
    """A prompt. In a form, ``points``, ``labels`` and ``box`` are JSON strings of the same values."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "original_image_id": "8f14e45f-ceea-467f-9b0b-1c2d3e4f5a6b",
                "points": [{"x": 512, "y": 340}],
                "labels": [1],
            }
        },
    )

    original_image_id: Annotated[UUID, uuid_of("original_image_id")]
    points: Annotated[list[APoint], BeforeValidator(short_list)] = Field(default_factory=list)
    labels: Annotated[list[Label], BeforeValidator(short_list)] = Field(
        default_factory=list, description="1 foreground, 0 background; one for each point"
    )
    box: Box | None = Field(None, description="x0, y0, x1, y1")
    mask_image_id: Annotated[UUID, uuid_of("mask_image_id")] | None = Field(
        None,
        description="SAM's mask prompt: an upload with image_type=mask, white inside, of the image's aspect ratio; "
        "the mask of an earlier answer fits",
    )
    logits: Logits | None = Field(
        None, description="SAM's mask prompt, exact: the logits of an earlier answer, to refine it with further points"
    )
    # Factories, so that OpenAPI names no default: it is the operator's.
    feather_method: Method = Field(
        default_factory=lambda: FeatherMethod.EASE_OUT_POWER, description="profile of the soft edge"
    )
    feather_width: Width = Field(default_factory=lambda: 10.0, description="width of the soft edge in pixels")
    outputs: Outputs = Field(
        default_factory=lambda: frozenset({Output.CUTOUT, Output.MASK}),
        description="what each candidate is answered as; nothing else is computed. Default: cutout and mask",
    )
    candidates: Count = Field(default_factory=lambda: 3, description="how many, best first. Default: 3")
    format: Format = Field(default_factory=lambda: PictureFormat.PNG, description="of cut-outs. Default: png")
    quality: Quality = Field(default_factory=lambda: 80, description="of cut-outs in WebP. Default: 80")
    crop: CropTo = Field(
        default_factory=lambda: Crop.OBJECT,
        description="cut-outs cut to the object, or in the frame of the image. Default: object",
    )

    @classmethod
    def parse(cls, fields: Mapping[str, Any], settings: Settings) -> "RunRequest":
        """Return what the fields of a body say; where they name no soft edge, it is the operator's.

        Raises:
            InvalidField: an id is missing or no UUID, or a field is a file.
            InvalidPrompt: anything else is malformed.
        """
        edge = {"feather_method": settings.feather_method, "feather_width": settings.feather_width}
        return cls.model_validate(edge | _given(fields), context=settings)

    @model_validator(mode="after")
    def _a_prompt(self) -> "RunRequest":
        if len(self.points) != len(self.labels):
            raise InvalidPrompt(
                f"there are {len(self.points)} points but {len(self.labels)} labels; give one label for each point"
            )
        if self.logits is not None and self.mask_image_id is not None:
            raise InvalidPrompt("logits and mask_image_id are both mask prompts; give one of them")
        if not self.points and self.box is None and self.mask_image_id is None and self.logits is None:
            raise InvalidPrompt("the request holds no prompt: give at least one point, a box or a mask_image_id")
        return self

    @property
    def rendering(self) -> Rendering:
        """What to make of each candidate."""
        return Rendering(self.outputs, self.feather_method, self.feather_width, self.format, self.quality, self.crop)

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """The points' x and y in pixels, ``(P, 2)``."""
        return np.array([(point.x, point.y) for point in self.points], np.float64).reshape(-1, 2)


def _from_json(name: str, value: str) -> Any:
    # A person types 1, 0 and not [1, 0].
    if name in {"labels", "box"} and _NUMBERS.fullmatch(value):
        value = f"[{value}]"
    if name == "outputs" and _WORDS.fullmatch(value):
        return [word.strip() for word in value.split(",")]
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidPrompt(f"{name} is not JSON ({error}), got {shown(value)}") from error


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say something: a form leaves one out by an empty string, JSON by null."""
    given = {}
    for name in RunRequest.model_fields:
        value = fields.get(name)
        if isinstance(value, UploadFile):
            raise InvalidField(f"{name} must be text, got a file; send it without a file name")
        if isinstance(value, str) and value and name in _JSON_FIELDS:
            value = _from_json(name, value)
        if value is not None and value != "":
            given[name] = value
    if "original_image_id" not in given:
        raise InvalidField("the field original_image_id is missing; give the image_id of an upload")
    return given
