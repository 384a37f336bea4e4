"""Asks for an API key before anything of a request is read."""

import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend_api.errors import ServiceError, Unauthorized

_CLOSED = "/api/"


class ApiKeys:
    """Lets requests to the API pass only with one of the keys; what probes, scrapes and shows the page stays open.

    Args:
        app: what a request is passed on to.
        keys: those accepted in the header X-API-Key.
        refuse: answers a request that carries none of them.
    """

    def __init__(self, app: ASGIApp, keys: tuple[str, ...], refuse: Callable[[ServiceError], ASGIApp]) -> None:
        self.app = app
        self.keys = [key.encode() for key in keys]
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        answer = self.app
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")).startswith(_CLOSED):
            sent = Headers(scope=scope).get("x-api-key", "").encode()
            # Every key is compared, each in constant time: the answer's delay tells nothing about any of them.
            if not any([hmac.compare_digest(sent, key) for key in self.keys]):  # noqa: C419
                answer = self.refuse(
                    Unauthorized("this service asks for an API key; send one that it knows in the header X-API-Key")
                )
        await answer(scope, receive, send)
