"""One structured log line and one metric sample per request, tied by a request id."""

from time import perf_counter
from uuid import uuid4

import structlog
from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend_api.metrics import Metrics

log = structlog.stdlib.get_logger("imgr.request")


class RequestLog:
    """Takes or makes an ``X-Request-ID``, returns it, and binds it to every log line of the request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and account for it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _acceptable(Headers(scope=scope).get("x-request-id", "")) or uuid4().hex
        scope["request_id"] = request_id  # for what is answered further out than here
        status = 499  # the client went away before an answer began
        started = perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        trace.get_current_span().set_attribute("imgr.request_id", request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, noting_send)
            except Exception:
                status = 500
                raise
            finally:
                seconds = perf_counter() - started
                # The route's template, not the path: label values must stay few.
                route = getattr(scope.get("route"), "path", "unmatched")
                self.metrics.request(route, scope["method"], status, seconds)
                # Probes and scrapes would bury what people did.
                level = log.debug if scope["path"].startswith(("/health", "/metrics")) else log.info
                level(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(seconds * 1e3, 1),
                )


def _acceptable(value: str) -> str:
    # 64 characters leave room for a trace's id in an exemplar, whose labels may take 128 in all.
    return value if len(value) <= 64 and value.isascii() and value.isprintable() else ""
