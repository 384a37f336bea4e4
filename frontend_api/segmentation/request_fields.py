"""The kinds of values that requests carry, each with the sentence that refuses what is none."""

import reprlib
from typing import Annotated, Any, cast

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
)

from frontend_api.errors import InvalidField, InvalidPrompt, ServiceError
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.settings import Settings

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


def uuid_of(name: str) -> WrapValidator:
    """Refuse what is no UUID as the field's own mistake."""
    return or_refused(f"{name} must be a UUID", InvalidField)
