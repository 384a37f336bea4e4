"""Bounds on connections: endless heads, stalled bodies, deaf clients, and too many of any kind."""

import asyncio
import resource
from collections import Counter
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from frontend_api.settings import Settings

log = structlog.stdlib.get_logger("imgr.connections")

_LONGEST_HEAD = 64 * 1024  # bytes
_RATE_SECONDS = 10.0  # over which a body's rate is measured


def raise_file_limit() -> None:
    """Allow as many open files as the system does: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bounded_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with the bounds of `settings`."""
    return type("BoundedProtocol", (_BoundedProtocol,), {"bounds": settings, "by_address": Counter()})


class _BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        bounds: the operator's.
        by_address: how many connections each address has.
    """

    bounds: Settings
    by_address: Counter[str]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection that is one too many; the others have so long for their first head."""
        super().connection_made(transport)
        self.timeout_keep_alive = self.bounds.idle_timeout_seconds  # type: ignore[assignment]
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of the head that is arriving
        self._in_head = True
        self._body = 0  # bytes of the body since its rate was last measured
        self._address = self.client[0] if self.client else ""
        self.by_address[self._address] += 1
        if len(self.connections) > self.bounds.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open; try again shortly")
        elif self.by_address[self._address] > self.bounds.max_connections_by_address:
            detail = "too many connections are open from this address; close some and try again"
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, detail)
        else:
            self._arm(self.bounds.head_timeout_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._disarm()
        self.resume_writing()
        self.by_address[self._address] -= 1
        if not self.by_address[self._address]:
            del self.by_address[self._address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless they are more of a head than any request needs."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > _LONGEST_HEAD:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._in_head = True
        self._head = max(self._head, 1)
        self._arm(self.bounds.head_timeout_seconds, self._head_is_late)

    def on_headers_complete(self) -> None:
        """Begin a body, if the head was not too long."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _LONGEST_HEAD:
            self._refuse_head()
            return
        self._in_head = False
        self._head = self._body = 0
        super().on_headers_complete()
        self._arm(_RATE_SECONDS, self._measure_body)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if not self._in_head:
            self._body += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a body."""
        if not self._in_head:
            self._disarm()
            super().on_message_complete()

    def pause_writing(self) -> None:
        """The client takes less than it is sent: it has so long to take what is on its way."""
        super().pause_writing()
        self._writing = self.loop.call_later(self.bounds.write_timeout_seconds, self._client_is_deaf)

    def resume_writing(self) -> None:
        """The client has taken what was on its way."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def _arm(self, seconds: float, late: Any) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_head(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the request's head is longer than {_LONGEST_HEAD} bytes"
        )

    def _head_is_late(self) -> None:
        if self._head:
            seconds = self.bounds.head_timeout_seconds
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's head took longer than {seconds:g} seconds")
        else:
            self.transport.close()

    def _measure_body(self) -> None:
        if self.flow.read_paused or self._body >= self.bounds.body_least_rate * _RATE_SECONDS:
            self._body = 0
            self._arm(_RATE_SECONDS, self._measure_body)
        else:
            rate = self.bounds.body_least_rate
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's body came at less than {rate} bytes a second")

    def _client_is_deaf(self) -> None:
        log.info("a client does not take its answer", address=self._address)
        self.transport.abort()

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Tell why, if an answer has not begun, and close the connection."""
        self._disarm()
        log.info("a connection is closed", status=status.value, reason=detail, address=self._address)
        before = self.cycle is None or self.cycle.response_complete  # all earlier requests are answered
        if before if self._in_head else not self.cycle.response_started:
            body = orjson.dumps({"detail": detail})
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            retry = b"retry-after: 2\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else b""
            self.transport.write(STATUS_LINE[status] + retry + head + body)
        if self.cycle is not None:  # the application waits for a body that will not come
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
