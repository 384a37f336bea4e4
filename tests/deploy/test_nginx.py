"""nginx in front of adapters: when one dies, the other answers; when all do, the answer is 503."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.support.nginx import Nginx


class FakeAdapter(BaseHTTPRequestHandler):
    """Is healthy. Answers what is posted, or closes the connection if `server.dies`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def do_POST(self):
        self.server.asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.dies:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def adapters():
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), FakeAdapter) for _ in range(2)]
    for server in servers:
        server.asked, server.dies, server.daemon_threads = 0, False, True
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def client(adapters, tmp_path):
    nginx = Nginx(tmp_path / "nginx", *(f"http://127.0.0.1:{adapter.server_port}" for adapter in adapters))
    try:
        with httpx.Client(base_url=nginx.wait_until_ready().url) as client:
            yield client
    finally:
        nginx.stop()


def assert_come_again(answer):
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert "try again" in answer.json()["detail"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == "Retry-After"


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_what_an_adapter_left_unanswered_because_it_died_the_other_answers(client, adapters, size):
    assert client.post("/api/run", content=b"x").status_code == 200
    favourite = next(adapter for adapter in adapters if adapter.asked)
    favourite.dies = True
    assert client.post("/api/upload/image", content=b"x" * size).status_code == 200
    assert sorted(adapter.asked for adapter in adapters) == [1, 2]
    favourite.dies = False


def test_a_person_stays_with_one_adapter(client, adapters):
    for _ in range(10):
        client.post("/api/run", content=b"x")
    assert sorted(adapter.asked for adapter in adapters) == [0, 10]


def test_when_all_die_the_answer_is_503_after_two_tries(client, adapters):
    for adapter in adapters:
        adapter.dies = True
    assert_come_again(client.post("/api/upload/image", content=b"x" * 100_000))
    assert [adapter.asked for adapter in adapters] == [1, 1]


def test_with_no_adapter_left_the_answer_is_503(client, adapters):
    for adapter in adapters:
        adapter.shutdown()
        adapter.server_close()
    assert_come_again(client.post("/api/run", content=b"x"))


def test_what_is_too_large_for_nginx_itself_is_refused_in_the_contracts_shape(client, adapters):
    answer = client.post("/api/upload/image", content=b"x" * 42_000_000)
    assert answer.status_code == 413
    assert "larger than the service takes" in answer.json()["detail"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert [adapter.asked for adapter in adapters] == [0, 0]


def test_metrics_are_not_passed_on(client):
    assert client.get("/metrics").status_code == 404
    assert client.get("/health").status_code == 204
