"""Reads the body of a click: a form or JSON."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request

from frontend_api.errors import InvalidField, InvalidRequest, NoRoom


async def read_fields(request: Request) -> Mapping[str, Any]:
    """Return the body's fields. Files among them are closed.

    Raises:
        InvalidRequest: the body is no JSON object.
        InvalidField: there is no body of a known kind.
        NoRoom: the body can't be put down.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            async with request.form() as form:
                return form
        except OSError as error:
            raise NoRoom from error
        except UnicodeError as error:  # of a charset that Python knows and the body is not in
            raise InvalidRequest("the form can't be read in the charset that Content-Type names; use UTF-8") from error
    if content_type != "application/json":
        raise InvalidField("the body must be a form (multipart or urlencoded) or JSON, named by Content-Type")
    try:
        fields = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("the JSON body must be an object with the field original_image_id")
    return fields
