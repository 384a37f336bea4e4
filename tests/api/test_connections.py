"""Slow, deaf, endless and too many connections, behind a real server."""

import contextlib
import json
import socket
import threading
import time

import httpx
import pytest
import uvicorn

from frontend_api import connections
from frontend_api.application import create_app
from frontend_api.connections import bounded_protocol
from frontend_api.settings import Settings
from tests.support.service import free_port

HEAD = b"POST /api/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def serve(inference, monkeypatch):
    """Return a function that serves with changed settings and returns the port."""
    monkeypatch.setattr(connections, "_RATE_SECONDS", 0.1)
    with contextlib.ExitStack() as stack:

        def serve_(**changes):
            settings = Settings(store="memory:///", **changes)
            app, port = create_app(settings, inference), free_port()
            server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, http=bounded_protocol(settings)))
            thread = threading.Thread(target=server.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(lambda: setattr(server, "should_exit", True))
            while not server.started:
                time.sleep(0.01)
            return port

        yield serve_


@pytest.fixture
def connect():
    with contextlib.ExitStack() as stack:

        def connect_(port):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.settimeout(5)
            return connection

        yield connect_


def answer(connection):
    """Return status and detail of what the server says before it closes."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            said += part
    head, _, body = said.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)["detail"]) if head else None


@pytest.mark.parametrize("pieces", [[b"X: " + 300_000 * b"a"], [b"X: " + 20_000 * b"a"] + 9 * [20_000 * b"a"]])
def test_an_endless_head_is_431(serve, connect, pieces):
    connection = connect(serve())
    with contextlib.suppress(ConnectionError):
        for piece in [HEAD, *pieces]:
            connection.sendall(piece)
            time.sleep(0.01)
        connection.sendall(b"a")
    assert answer(connection) == (431, "the request's head is longer than 65536 bytes")


def test_a_head_that_is_complete_but_too_long_is_431(serve, connect):
    connection = connect(serve())
    connection.sendall(HEAD + b"".join(b"X%d: %s\r\n" % (n, 7000 * b"a") for n in range(10)) + b"\r\n")
    assert answer(connection)[0] == 431


@pytest.mark.parametrize("sent", [b"", HEAD])
def test_a_head_that_does_not_end_is_408_and_a_silent_connection_is_closed(serve, connect, sent):
    connection = connect(serve(head_timeout_seconds=0.1))
    connection.sendall(sent)
    assert answer(connection) == ((408, "the request's head took longer than 0.1 seconds") if sent else None)


@pytest.mark.parametrize(
    "head", [HEAD, b"POST /api/upload/image HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"]
)
def test_a_body_that_stalls_is_408_and_takes_no_place(serve, connect, head):
    port = serve()
    connection = connect(port)
    connection.sendall(head + b"Content-Length: 100\r\n\r\n--b")
    assert answer(connection) == (408, "the request's body came at less than 1000 bytes a second")
    assert 'imgr_in_flight{kind="clicks"} 0.0' in httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_a_body_that_comes_slowly_but_comes_is_taken(serve, connect):
    connection = connect(serve(body_least_rate=20))
    connection.sendall(HEAD + b"Connection: close\r\nContent-Length: 60\r\n\r\n")
    for _ in range(6):
        time.sleep(0.06)
        connection.sendall(10 * b" ")
    assert answer(connection)[0] == 400


def test_a_client_that_does_not_take_its_answer_is_cut_off(serve, connect):
    port = serve(write_timeout_seconds=0.1)
    connection = connect(port)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    requests = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"

    def ask_without_end():
        while True:
            connection.sendall(20 * requests)
            time.sleep(0.01)

    with pytest.raises(ConnectionError):
        ask_without_end()


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"max_connections": 2}, "too many connections are open; try again shortly"),
        (
            {"max_connections_by_address": 2},
            "too many connections are open from this address; close some and try again",
        ),
    ],
)
def test_one_connection_too_many_is_503_and_the_next_is_served_when_another_has_gone(serve, connect, changes, detail):
    port = serve(**changes)
    first, second = connect(port), connect(port)
    time.sleep(0.05)
    assert answer(connect(port)) == (503, detail)
    first.close()
    time.sleep(0.05)
    assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 204
    second.close()


def test_a_connection_is_used_for_several_requests(serve):
    with httpx.Client(base_url=f"http://127.0.0.1:{serve()}") as client:
        for _ in range(3):
            assert client.get("/health/live").status_code == 204
            assert client.post("/api/run", json={}).status_code == 422
