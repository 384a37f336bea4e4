"""Health, metrics, keys, CORS, admission and the errors of the model server."""

import tempfile
import threading
import time

import pytest

from frontend_api.errors import InferenceTimeout, Saturated, TritonUnavailable
from frontend_api.settings import Settings
from tests.support.fake_inference import IDENTITY

UNKNOWN = "8f14e45f-ceea-467f-9b0b-1c2d3e4f5a6b"
CLICK = {"points": [{"x": 10, "y": 10}], "labels": [1]}


def test_health_names_the_model_in_service(client):
    body = client.get("/health").json()
    assert body["status"] == "ok"
    assert body["model"]["variant"] == "vit_fake"
    assert body["model"]["precision"] == "fp32"
    assert body["model"]["version"] == 1
    assert client.get("/health/live").status_code == 204
    assert client.get("/health/ready").status_code == 204


@pytest.mark.parametrize(("identity", "demonstration"), [(IDENTITY, False), ("quickstart/fp32/1", True)])
def test_health_says_whether_the_model_is_the_demonstration_that_ships(open_client, inference, identity, demonstration):
    inference.models = {1: (identity, identity)}
    assert open_client().get("/health").json()["model"]["demonstration"] is demonstration


def test_a_mismatched_newest_version_gives_way_to_the_older_one_within_the_click(open_client, inference, photo_jpeg):
    inference.models = {1: (IDENTITY, IDENTITY), 2: ("a/fp32/1", "b/fp32/2")}
    client = open_client()
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    assert client.post("/api/run", json=CLICK | {"original_image_id": image_id}).status_code == 200
    assert client.get("/health").json()["model"]["version"] == 1


def test_without_a_consistent_pair_clicks_are_503_and_name_both_identities(client, inference, upload):
    image_id = upload()
    inference.models = {2: ("a/fp32/1", "b/fp32/2")}
    click = client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    answer = client.get("/health")
    assert click.status_code == answer.status_code == 503
    assert click.headers["retry-after"]
    for body in (answer.json(), click.json()):
        assert "a/fp32/1" in body["detail"]
        assert "b/fp32/2" in body["detail"]
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 204


def test_a_model_replaced_in_place_is_noticed_by_its_identity(client, inference, upload):
    image_id = upload()
    assert client.post("/api/run", json=CLICK | {"original_image_id": image_id}).status_code == 200
    inference.models = {1: ("new/fp32/9", "new/fp32/9")}
    assert client.post("/api/run", json=CLICK | {"original_image_id": image_id}).status_code == 200
    assert client.get("/health").json()["model"]["identity"] == "new/fp32/9"
    assert inference.calls["encode"] == 2


def test_a_click_that_takes_too_long_is_504_and_says_so(open_client, inference, photo_jpeg):
    client = open_client(click_timeout_seconds=0.05)
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    inference.released.clear()
    answer = client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    inference.released.set()
    assert answer.status_code == 504
    assert answer.json()["detail"].startswith("the click took longer than 0.05 seconds; try again shortly")


@pytest.mark.parametrize(
    ("error", "status"),
    [(TritonUnavailable("down"), 503), (Saturated("full"), 503), (InferenceTimeout("slow"), 504)],
)
def test_an_error_of_the_model_server_has_its_status(client, inference, upload, error, status):
    image_id = upload()
    client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    inference.error = error
    answer = client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    assert answer.status_code in {status, 503}
    assert ("retry-after" in answer.headers) == (answer.status_code == 503)


def test_more_clicks_than_admitted_are_503_at_once(open_client, inference, photo_jpeg):
    client = open_client(max_concurrent_clicks=2)
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    inference.released.clear()
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(client.post("/api/run", json=CLICK | {"original_image_id": image_id}))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while 'imgr_in_flight{kind="clicks"} 2.0' not in client.get("/metrics").text:
        time.sleep(0.01)
    refused = client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    inference.released.set()
    for thread in threads:
        thread.join()
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert "2 clicks" in refused.json()["detail"]
    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/upload/image", 422),
        ("POST", "/api/run", 422),
        ("GET", f"/api/images/{UNKNOWN}", 404),
        ("DELETE", f"/api/images/{UNKNOWN}", 404),
    ],
)
def test_an_api_key_is_asked_for_where_keys_are_configured(open_client, method, path, status):
    client = open_client(api_keys="alpha, beta")
    for headers, expected in [({}, 401), ({"x-api-key": "gamma"}, 401), ({"x-api-key": "beta"}, status)]:
        assert client.request(method, path, headers=headers).status_code == expected
    assert client.get("/health").status_code == 200


def test_a_key_that_no_header_carries_is_refused_at_start():
    with pytest.raises(ValueError, match="ASCII"):
        Settings(api_keys="alpha, schlüssel")


@pytest.mark.parametrize("path", ["/api/upload/image", "/api/run"])
def test_a_body_is_not_received_before_the_api_key_is_known(open_client, monkeypatch, tmp_path, path):
    client = open_client(api_keys="alpha", max_points=2**14)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))  # to put a body there gets 503
    for headers, status in [({}, 401), ({"x-api-key": "beta"}, 401), ({"x-api-key": "alpha"}, 503)]:
        answer = client.post(path, files={"file": ("photo.jpg", bytes(2 * 2**20))}, headers=headers)
        assert answer.status_code == status


def test_the_development_origin_may_call_and_others_may_not(client):
    preflight = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type, x-api-key, x-request-id, traceparent, tracestate",
    }
    allowed = client.options("/api/run", headers=preflight | {"origin": "http://localhost:5173"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert (
        "access-control-allow-origin"
        not in client.options("/api/run", headers=preflight | {"origin": "http://evil"}).headers
    )


@pytest.mark.parametrize("origins", ["https://example.com/", "example.com", "http://localhost:5173, b/c", "https://"])
def test_an_origin_that_no_browser_would_name_is_refused_at_start(origins):
    with pytest.raises(ValueError, match="origins as browsers name them"):
        Settings(cors_origins=origins)


def test_any_origin_may_call_where_a_star_says_so(open_client):
    answer = open_client(cors_origins="*").get("/health", headers={"origin": "https://example.com"})
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/health/ready"])
def test_whoever_watches_the_service_may_use_head(client, path):
    answer = client.head(path)
    assert answer.status_code == client.get(path).status_code
    assert not answer.content


def test_the_page_is_not_shown_from_a_cache_without_asking(client):
    assert client.get("/").headers["cache-control"] == "no-cache"


def test_errors_carry_cors_headers_so_that_the_frontend_can_read_them(client):
    answer = client.post("/api/run", json={}, headers={"origin": "http://localhost:5173"})
    assert answer.status_code == 422
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert answer.headers["access-control-expose-headers"] == "Retry-After, X-Request-ID"


def test_a_request_id_is_kept_or_made(client):
    assert client.get("/health", headers={"x-request-id": "abc"}).headers["x-request-id"] == "abc"
    assert client.get("/health").headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/api/run", 405)])
def test_unknown_routes_and_methods_keep_the_error_shape(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
