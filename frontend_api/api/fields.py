"""Turns the fields of a body into a click, JSON strings of a form or native values, or says what is wrong with one."""

import math
import reprlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.datastructures import UploadFile

from frontend_api.errors import InvalidField, InvalidPrompt
from frontend_api.masks.feathering import FeatherMethod
from frontend_api.segmentation.clicks import Click
from frontend_api.settings import Settings

_MAX_FEATHER_WIDTH = 256.0

# A client's value may be nested more deeply than Python's own repr can follow.
_short = reprlib.Repr()
_short.maxlevel = 3
_short.maxstring = 80


def parse_click(fields: Mapping[str, Any], settings: Settings) -> Click:
    """Turn the fields of ``POST /api/run`` into a click.

    Raises:
        InvalidField: an id is missing or no UUID, or a field is a file.
        InvalidPrompt: anything else is malformed.
    """
    image_id = _uuid(fields, "original_image_id")
    if image_id is None:
        raise InvalidField("the field original_image_id is missing; give the image_id of an upload")
    mask_id = _uuid(fields, "mask_image_id")
    points = _points(fields, settings.max_points)
    labels = _labels(fields, settings.max_points)
    if len(points) != len(labels):
        raise InvalidPrompt(f"there are {len(points)} points but {len(labels)} labels; give one label for each point")
    return Click(
        image_id=image_id,
        points=points,
        labels=labels,
        box=_box(fields),
        mask_id=mask_id,
        method=_method(fields, settings.feather_method),
        width=_width(fields, settings.feather_width),
    )


def _given(fields: Mapping[str, Any], name: str) -> Any:
    """Return a field's value; an empty string in a form means the field was left out."""
    value = fields.get(name)
    if isinstance(value, UploadFile):
        raise InvalidField(f"{name} must be text, got a file; send it without a file name")
    return None if value == "" else value


def _uuid(fields: Mapping[str, Any], name: str) -> UUID | None:
    value = _given(fields, name)
    if value is None:
        return None
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidField(f"{name} must be a UUID, got {_shown(value)}") from error


def _json(fields: Mapping[str, Any], name: str) -> Any:
    value = _given(fields, name)
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidPrompt(f"{name} is not JSON ({error}), got {_shown(value)}") from error


def _list(fields: Mapping[str, Any], name: str, limit: int) -> list[Any]:
    value = _json(fields, name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidPrompt(f"{name} must be a list, got {_shown(value)}")
    if len(value) > limit:
        raise InvalidPrompt(f"there are {len(value)} {name}; the limit is {limit}")
    return value


def _points(fields: Mapping[str, Any], limit: int) -> NDArray[np.float64]:
    values = _list(fields, "points", limit)
    for value in values:
        if not isinstance(value, dict) or not all(_is_number(value.get(axis)) for axis in "xy"):
            raise InvalidPrompt(
                f'each point must look like {{"x": 512, "y": 340}} with finite numbers, got {_shown(value)}'
            )
    return np.array([(value["x"], value["y"]) for value in values], np.float64).reshape(-1, 2)


def _labels(fields: Mapping[str, Any], limit: int) -> NDArray[np.int32]:
    values = _list(fields, "labels", limit)
    for value in values:
        if not _is_number(value) or value not in (0, 1):
            raise InvalidPrompt(f"each label must be 1 (foreground) or 0 (background), got {_shown(value)}")
    return np.array(values, np.int32)


def _box(fields: Mapping[str, Any]) -> NDArray[np.float64] | None:
    value = _json(fields, "box")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise InvalidPrompt(f"box must be four finite numbers [x0, y0, x1, y1], got {_shown(value)}")
    return np.array(value, np.float64)


def _method(fields: Mapping[str, Any], default: FeatherMethod) -> FeatherMethod:
    value = _given(fields, "feather_method")
    if value is None:
        return default
    if value not in tuple(FeatherMethod):  # not asked of the class itself, which puts the whole value into its error
        raise InvalidPrompt(f"feather_method must be one of {', '.join(FeatherMethod)}, got {_shown(value)}")
    return FeatherMethod(value)


def _width(fields: Mapping[str, Any], default: float) -> float:
    value = _json(fields, "feather_width")
    if value is None:
        return default
    if not _is_number(value) or not 0 <= value <= _MAX_FEATHER_WIDTH:
        raise InvalidPrompt(
            f"feather_width must be a number from 0 to {_MAX_FEATHER_WIDTH:g} pixels, got {_shown(value)}"
        )
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: object) -> str:
    text = _short.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
