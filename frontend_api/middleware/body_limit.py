"""Refuses bodies over the limit while they stream in."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OVERHEAD = 64 * 1024  # boundaries, headers and the fields beside the file or the points


class BodyLimit:
    """Raises 413 inside `receive` once a body exceeds its limit, at once where Content-Length says so.

    Starlette's own middleware answers in plain text; the contract promises JSON. An HTTPException is the
    one kind of exception that FastAPI lets through while it parses a body.

    Args:
        app: what the request is passed on to.
        max_bytes: the limit of what any body carries.
        max_bytes_of: the limits of paths that have one of their own, by what they begin with.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_bytes_of: Mapping[str, int]) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_bytes_of = max_bytes_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counting `receive`."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        of_path = (limit for start, limit in self.max_bytes_of.items() if path.startswith(start))
        max_bytes = next(of_path, self.max_bytes)
        declared = Headers(scope=scope).get("content-length", "")
        most = max_bytes + _OVERHEAD
        received = int(declared) if declared.isdecimal() and int(declared) > most else 0

        async def counting_receive() -> Message:
            nonlocal received
            if received <= most:
                message = await receive()
                received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the request body exceeds the limit of {max_bytes} bytes",
                )
            return message

        await self.app(scope, counting_receive, send)
