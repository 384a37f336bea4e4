"""The application over a fake model server, in memory."""

import pytest
from starlette.testclient import TestClient

from frontend_api.application import create_app
from frontend_api.settings import Settings
from tests.support.fake_inference import FakeInference


@pytest.fixture
def inference():
    return FakeInference()


@pytest.fixture
def open_client(inference):
    """Return a factory of clients; settings can be changed by keyword."""
    clients = []

    def open_(**changes):
        settings = Settings(
            **{"store": "memory:///", "model_poll_seconds": 0.02, "model_patience_seconds": 0.5} | changes
        )
        client = TestClient(create_app(settings, inference), raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        for _ in range(500):
            if client.get("/health").status_code == 200:
                break
        return client

    yield open_
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(open_client):
    return open_client()


@pytest.fixture
def upload(client, photo_jpeg):
    """Return a function that uploads bytes and returns the image's id."""

    def upload_(data=photo_jpeg, name="photo.jpg", **fields):
        answer = client.post("/api/upload/image", files={"file": (name, data)}, data=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["image_id"]

    return upload_
