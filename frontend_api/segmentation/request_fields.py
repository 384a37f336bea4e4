"""The kinds of values that requests carry, each with the sentence that refuses what is none."""

import reprlib
from functools import cached_property
from typing import Annotated, Any, cast

import numpy as np
from numpy.typing import NDArray
from pybase64 import b64decode
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from frontend_api.errors import InvalidField, InvalidPrompt, InvalidRequest, ServiceError
from frontend_api.images.prompts import MASK_SIDE
from frontend_api.masks.candidates import Crop, Output, PictureFormat
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.settings import Settings

_LOGITS_LENGTH = 4 * -(-2 * MASK_SIDE * MASK_SIDE // 3)  # of their base64

# A client's value may be nested more deeply than Python's own repr can follow.
_short = reprlib.Repr()
_short.maxlevel = 3
_short.maxstring = 80


def shown(value: object) -> str:
    """Return a client's value in at most 80 characters."""
    text = _short.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def or_refused(sentence: str, error: type[ServiceError] = InvalidPrompt) -> WrapValidator:
    """Refuse a value in a sentence that says what is right, instead of in pydantic's words."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as problem:
            raise error(f"{sentence}, got {shown(value)}") from problem

    return WrapValidator(validate)


def short_list(value: Any, info: ValidationInfo) -> Any:
    """Refuse what is no list, or longer than a prompt may be, before its elements are looked at."""
    limit = cast(Settings, info.context).max_points
    if not isinstance(value, list):
        raise InvalidPrompt(f"{info.field_name} must be a list, got {shown(value)}")
    if len(value) > limit:
        raise InvalidPrompt(f"there are {len(value)} {info.field_name}; the limit is {limit}")
    return value


def _zero_or_one(value: float) -> int:
    if value not in {0, 1}:
        raise ValueError("neither 0 nor 1")
    return int(value)


def _text(value: object) -> object:
    if not isinstance(value, str):  # the class itself would put the whole value into its error
        raise ValueError("no text")
    return value


Number = Annotated[float, Strict(), AllowInfNan(False)]


class Point(BaseModel):
    """A click in pixels of the EXIF-oriented image."""

    x: Number
    y: Number


APoint = Annotated[Point, or_refused('each point must look like {"x": 512, "y": 340} with finite numbers')]
Label = Annotated[
    Number,
    AfterValidator(_zero_or_one),
    or_refused("each label must be 1 (foreground) or 0 (background)"),
    WithJsonSchema({"type": "integer", "enum": [0, 1]}),
]
Box = Annotated[
    list[Number],
    Field(min_length=4, max_length=4),
    or_refused("box must be four finite numbers [x0, y0, x1, y1]"),
]
Method = Annotated[
    FeatherMethod, BeforeValidator(_text), or_refused(f"feather_method must be one of {', '.join(FeatherMethod)}")
]
Width = Annotated[
    Number,
    Field(ge=0, le=256),
    or_refused("feather_width must be a number from 0 to 256 pixels"),
]


Outputs = Annotated[
    frozenset[Output],
    Field(min_length=1),
    or_refused(f"outputs must be a list of some of {', '.join(Output)}", InvalidRequest),
    WithJsonSchema({"type": "array", "items": {"enum": list(Output)}, "minItems": 1, "uniqueItems": True}),
]
Count = Annotated[int, Strict(), Field(ge=1, le=3), or_refused("candidates must be 1, 2 or 3", InvalidRequest)]
Format = Annotated[
    PictureFormat, BeforeValidator(_text), or_refused(f"format must be {' or '.join(PictureFormat)}", InvalidRequest)
]
Quality = Annotated[
    int, Strict(), Field(ge=1, le=100), or_refused("quality must be a whole number from 1 to 100", InvalidRequest)
]
CropTo = Annotated[Crop, BeforeValidator(_text), or_refused(f"crop must be {' or '.join(Crop)}", InvalidRequest)]


class LogitsPrompt(BaseModel):
    """What ``outputs: ["logits"]`` answered: an earlier mask as SAM itself saw it."""

    data: str = Field(max_length=_LOGITS_LENGTH, description="base64 of float16 256×256, row by row, little-endian")
    identity: str = Field(max_length=64, description="of the model that made them")

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """The logits, ``(256, 256)``. Raises ValueError."""
        values = np.frombuffer(b64decode(self.data, validate=True), "<f2").astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("not finite")
        return values.reshape(MASK_SIDE, MASK_SIDE)

    @model_validator(mode="after")
    def _decodable(self) -> "LogitsPrompt":
        _ = self.values
        return self


Logits = Annotated[
    LogitsPrompt,
    or_refused('logits must be what an earlier answer held: {"data": base64 of float16 256×256, "identity": "…"}'),
]


def uuid_of(name: str) -> WrapValidator:
    """Refuse what is no UUID as the field's own mistake."""
    return or_refused(f"{name} must be a UUID", InvalidField)
