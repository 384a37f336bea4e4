"""An answer that is handed over as fast as its client takes it."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PIECE = 256 * 1024


class PacedResponse(Response):
    """Passes its body to the server in pieces: in one piece it would be copied whole into the connection's buffer.

    The server takes the next piece when the client has taken most of those before, so this returns when the answer is
    as good as taken, or the client has gone.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for start in range(0, len(body), _PIECE):
            piece = bytes(body[start : start + _PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
