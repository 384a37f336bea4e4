"""A client that goes away takes its waiting work along."""

import dataclasses
import io
import json
import socket
import threading
import time

import httpx
import numpy as np
import pytest
import structlog
import uvicorn
from PIL import Image

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


def in_flight(url, kind="clicks"):
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return float(next(li for li in lines if li.startswith(f'imgr_in_flight{{kind="{kind}"}}')).split()[-1])


def connect(url):
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def send_click(connection, image_id):
    body = json.dumps({"original_image_id": image_id, "points": [{"x": 9, "y": 9}], "labels": [1]}).encode()
    head = f"POST /api/run HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_click_is_dropped_when_its_client_disconnects(url, inference, photo_jpeg):
    image_id = httpx.post(f"{url}/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    inference.released.clear()
    with connect(url) as connection:
        send_click(connection, image_id)
        wait_for(lambda: in_flight(url) == 1)
    wait_for(lambda: in_flight(url) == 0)  # although the model server has still not answered
    assert not inference.released.is_set()


def test_a_search_ends_when_its_client_disconnects(url, inference, photo_jpeg):
    image_id = httpx.post(f"{url}/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    with httpx.stream("POST", f"{url}/api/images/{image_id}/everything", json={"grid": 32}) as answer:
        lines = answer.iter_lines()  # kept: the connection is closed with it
        assert "progress" in next(lines)
        inference.released.clear()
        assert in_flight(url, "searches") == 1
    wait_for(lambda: in_flight(url, "searches") == 0)
    assert inference.calls["decode"] < 32 * 32


def test_a_place_is_held_until_the_answer_is_taken(url, inference):
    """Of a large answer to a client that does not read, the adapter keeps the only copy, and counts it."""
    noise = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), np.uint8)
    picture = io.BytesIO()
    Image.fromarray(noise).save(picture, "PNG", compress_level=0)
    image_id = httpx.post(f"{url}/api/upload/image", files={"file": ("a.png", picture.getvalue())}).json()["image_id"]
    decode = inference.decode

    async def everything(*arguments):
        masks = await decode(*arguments)
        return dataclasses.replace(masks, logits=np.full_like(masks.logits, 9))

    inference.decode = everything
    with connect(url) as connection:
        send_click(connection, image_id)
        wait_for(lambda: in_flight(url, "answer_bytes") > 3 * noise.nbytes)
        time.sleep(0.05)
        assert in_flight(url) == 1
    wait_for(lambda: in_flight(url) == in_flight(url, "answer_bytes") == 0)


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
