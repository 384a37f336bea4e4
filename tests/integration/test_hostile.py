"""Two hundred clients of each kind that nobody wants, and one that everybody wants."""

import contextlib
import json
import socket
import struct
import time

import httpx
import numpy as np
import psutil
import pytest

from tests.support.service import Service
from tests.support.service_client import ServiceClient

pytestmark = [pytest.mark.triton, pytest.mark.heavy]

CLIENTS = 200
HEAD = b"POST /api/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def service(small_repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with Service(
        small_repository, folder / "store", folder / "log", head_timeout_seconds=3, write_timeout_seconds=3
    ) as service:
        yield service.wait_until_ready()


@pytest.fixture(scope="module")
def image_id(service):
    noise = np.random.default_rng(1).integers(0, 256, (1500, 2000, 3), np.uint8)
    return ServiceClient(service.url).upload(noise)


@pytest.fixture
def connections(service):
    """Open sockets to the service, closed at the end."""
    with contextlib.ExitStack() as stack:

        def connect():
            address = service.url.removeprefix("http://").split(":")
            return stack.enter_context(socket.create_connection((address[0], int(address[1]))))

        yield [connect() for _ in range(CLIENTS)]


def click(image_id):
    body = json.dumps({"original_image_id": image_id, "box": [1, 1, 1900, 1400]}).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def established(service):
    port = int(service.url.rpartition(":")[2])
    return sum(
        each.status == "ESTABLISHED" and each.laddr.port == port
        for each in psutil.Process(service.pid).net_connections("tcp")
    )


def endless_head(connection, image_id):
    with contextlib.suppress(ConnectionError):
        connection.sendall(HEAD + b"X: " + 400_000 * b"a")


def half_a_head(connection, image_id):
    connection.sendall(HEAD)


def silent(connection, image_id):
    pass


def stalled_body(connection, image_id):
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")


def deaf(connection, image_id):
    connection.sendall(click(image_id))


def gone(connection, image_id):
    connection.sendall(click(image_id))
    reset(connection)


@pytest.mark.parametrize("kind", [endless_head, half_a_head, silent, stalled_body, deaf, gone])
def test_a_wanted_client_is_served_and_the_others_are_rid_of(service, image_id, connections, kind):
    wanted = ServiceClient(service.url)
    memory = psutil.Process(service.pid).memory_info().rss
    for connection in connections:
        kind(connection, image_id)
    statuses = []
    deadline = time.monotonic() + 120
    while 200 not in statuses:
        assert time.monotonic() < deadline
        assert httpx.get(f"{service.url}/health/live", timeout=10).status_code == 204
        statuses.append(wanted.run(image_id, points=[(50, 40)], labels=[1]).status_code)
    assert set(statuses) <= {200, 503}
    while established(service) > 5:
        assert time.monotonic() < deadline, f"{established(service)} connections are still open"
        time.sleep(0.2)
    assert psutil.Process(service.pid).memory_info().rss - memory < 1.2e9
    assert "Traceback" not in service.log.read_text(errors="replace")
