"""A client that goes away takes its waiting work along."""

import json
import socket
import threading
import time

import httpx
import pytest
import structlog
import uvicorn

from frontend_api.application import create_app
from frontend_api.settings import Settings
from tests.support.service import free_port


@pytest.fixture
def url(inference):
    """The application behind a real server: only there do connections break."""
    settings = Settings(store="memory:///", model_poll_seconds=0.02)
    config = uvicorn.Config(create_app(settings, inference), port=free_port(), log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    address = f"http://127.0.0.1:{config.port}"
    for _ in range(500):
        try:
            if httpx.get(f"{address}/health/ready").status_code == 204:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    yield address
    inference.released.set()
    server.should_exit = True
    thread.join()


def in_flight(url):
    line = next(
        li for li in httpx.get(f"{url}/metrics").text.splitlines() if li.startswith('imgr_in_flight{kind="clicks"}')
    )
    return float(line.split()[-1])


def connect(url):
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_click_is_dropped_when_its_client_disconnects(url, inference, photo_jpeg):
    image_id = httpx.post(f"{url}/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    inference.released.clear()
    body = json.dumps({"original_image_id": image_id, "points": [{"x": 9, "y": 9}], "labels": [1]}).encode()
    with connect(url) as connection:
        head = f"POST /api/run HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_for(lambda: in_flight(url) == 1)
    wait_for(lambda: in_flight(url) == 0)  # although the model server has still not answered
    assert not inference.released.is_set()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/api/run", "application/json"),
        ("/api/run", "multipart/form-data; boundary=b"),
        ("/api/upload/image", "multipart/form-data; boundary=b"),
    ],
)
def test_a_client_that_leaves_within_its_body_is_no_error_of_ours_and_no_rejection(url, caplog, path, content_type):
    with structlog.testing.capture_logs() as lines:
        with connect(url) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: {content_type}\r\n\r\n"
            connection.sendall(head.encode() + b"--b")
        wait_for(lambda: any(line.get("path") == path for line in lines))
        metrics = httpx.get(f"{url}/metrics").text
    assert [line["status"] for line in lines if line.get("path") == path] == [499]
    assert not [line for line in lines if line["log_level"] in {"error", "critical"}]
    assert not [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}]
    assert "imgr_rejections_total{" not in metrics
