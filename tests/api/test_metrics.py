"""What the adapter's metrics tell, and that they stay few."""

import json
import subprocess
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from frontend_api.errors import TritonUnavailable
from frontend_api.metrics import STAGES
from tests.support.fake_inference import IDENTITY

CLICK = {"points": [{"x": 10, "y": 10}], "labels": [1]}


def samples(client):
    """Return {(name, label value, …): value} of the adapter's metrics, labels in the order of their names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in parse_text(client.get("/metrics").text)
        for sample in family.samples
    }


def click(client, image_id, **headers):
    return client.post("/api/run", json=CLICK | {"original_image_id": image_id}, headers=headers)


def test_every_stage_of_an_upload_and_a_click_is_measured(client, upload):
    click(client, upload())
    measured = samples(client)
    for stage in STAGES:
        assert measured["imgr_stage_duration_seconds_count", stage] > 0, stage


def test_a_request_is_measured_by_route_method_and_status(client, upload):
    click(client, upload())
    assert samples(client)["imgr_request_duration_seconds_count", "POST", "/api/run", "200"] == 1


def test_an_unexpected_error_is_measured_as_the_500_that_it_becomes(client, inference, upload):
    image_id = upload()
    click(client, image_id)
    inference.error = RuntimeError("a mistake of ours")
    answer = click(client, image_id, **{"x-request-id": "find-me"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "find-me"
    measured = samples(client)
    assert measured["imgr_request_duration_seconds_count", "POST", "/api/run", "500"] == 1
    assert not [key for key in measured if "499" in key]


def test_the_model_in_service_is_named_since_when(client, inference):
    before = samples(client)
    assert before["imgr_model_info", IDENTITY, "fp32", "vit_fake", "1"] == 1
    assert before["imgr_model_in_service",] == 1
    inference.models = {2: ("new/fp16/9", "new/fp16/9")}
    while client.get("/health").json()["model"]["version"] == 1:
        pass
    after = samples(client)
    assert after["imgr_model_info", "new/fp16/9", "fp16", "new", "2"] == 1
    assert ("imgr_model_info", IDENTITY, "fp32", "vit_fake", "1") not in after
    assert after["imgr_model_since_timestamp_seconds",] > before["imgr_model_since_timestamp_seconds",]


def test_how_full_the_caches_and_queues_are_is_told_with_their_limits(open_client, inference, photo_jpeg):
    client = open_client(pixel_cache_bytes=10**6, embedding_cache_bytes=2**23, max_concurrent_clicks=5)
    image_id, _ = (
        client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"] for _ in range(2)
    )
    click(client, image_id)
    full = samples(client)
    assert full["imgr_cache_bytes", "pixels"] == 2 * 300 * 200 * 3
    assert full["imgr_cache_limit_bytes", "pixels"] == 10**6
    assert full["imgr_cache_bytes", "embedding"] >= 2**22
    assert full["imgr_cache_limit_bytes", "embedding"] == 2**23
    assert full["imgr_in_flight_limit", "clicks"] == 5
    assert full["imgr_in_flight_limit", "uploads"] == 8
    assert full["imgr_encodes_waiting_limit",] == 64
    client.delete(f"/api/images/{image_id}")
    assert samples(client)["imgr_cache_bytes", "pixels"] == 300 * 200 * 3


def test_images_that_wait_for_the_encoder_are_counted(client, inference, upload):
    inference.released.clear()
    for _ in range(3):
        upload()
    while (waiting := samples(client)["imgr_encodes_waiting",]) < 2:
        pass
    assert waiting == 2
    inference.released.set()


def test_a_click_tells_where_its_embedding_came_from(open_client, inference, photo_jpeg, tmp_path):
    store = {"store": f"file://{tmp_path}/store"}
    first = open_client(**store)
    inference.released.clear()
    image_id = first.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    read = samples(first)["imgr_stage_duration_seconds_count", "store"]
    waiting = threading.Thread(target=click, args=(first, image_id))
    waiting.start()
    while samples(first)["imgr_stage_duration_seconds_count", "store"] == read:  # then it asks for the embedding
        pass
    inference.released.set()
    waiting.join()
    click(first, image_id)
    told = samples(first)
    assert told["imgr_cache_lookups_total", "embedding", "computed"] == 1  # it waited for the encoder
    assert told["imgr_cache_lookups_total", "embedding", "memory"] == 1
    assert told["imgr_stage_duration_seconds_count", "encode"] == 1
    while not first.get(f"/api/images/{image_id}").json()["embedding_ready"]:
        pass
    restarted = open_client(**store)
    while not any((tmp_path / "store").glob("images/*/embeddings/*.f32")):
        pass
    click(restarted, image_id)
    told = samples(restarted)
    assert told["imgr_cache_lookups_total", "embedding", "store"] == 1
    assert told["imgr_stage_duration_seconds_count", "encode"] == 0


def test_refusals_are_counted_by_reason_and_uploads_by_format(client, inference, upload):
    image_id = upload()
    click(client, image_id)
    client.post("/api/upload/image", files={"file": ("a.jpg", b"no image")})
    inference.error = TritonUnavailable("down")
    click(client, image_id)
    counted = samples(client)
    assert counted["imgr_uploads_total", "JPEG"] == 1
    assert counted["imgr_rejections_total", "UnsupportedImage"] == 1
    assert sum(counted.get(("imgr_rejections_total", error), 0) for error in ("TritonUnavailable", "NoModelInService"))


def test_a_store_of_files_tells_its_room_and_another_does_not(open_client, client, tmp_path):
    room = samples(open_client(store=f"file://{tmp_path}/a%20store"))
    assert 0 < room["imgr_store_free_bytes",] < room["imgr_store_size_bytes",]
    assert ("imgr_store_free_bytes",) not in samples(client)


def test_a_store_that_is_gone_costs_no_other_metric(open_client, tmp_path):
    client = open_client(store=f"file://{tmp_path}/store")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    told = samples(client)
    assert told["imgr_store_free_bytes",] != told["imgr_store_free_bytes",]  # NaN
    assert told["imgr_model_in_service",] == 1


def test_exemplars_name_the_request_for_who_takes_openmetrics(client, upload):
    click(client, upload(), **{"x-request-id": "find-me"})
    answer = client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    named = {
        sample.labels.get("stage") or sample.labels["route"]
        for family in parse_openmetrics(answer.text)
        for sample in family.samples
        if sample.exemplar and sample.exemplar.labels["request_id"] == "find-me"
    }
    # Refinement runs in other threads; the image had been encoded on behalf of the upload.
    assert {"/api/run", "decode_prompts", "refine", "encode_png"} <= named
    assert "encode" not in named


def test_the_plain_text_has_no_exemplars(client, upload):
    click(client, upload(), **{"x-request-id": "find-me"})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "find-me" not in answer.text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        # Prometheus 2 and 3
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "application/openmetrics-text"),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*", "application/openmetrics-text"),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", "text/plain"),
        ("application/openmetrics-text;version=x", "application/openmetrics-text"),
        ("text/plain;version=x;escaping=y,;,=", "text/plain"),
        ("*/*", "text/plain"),
    ],
)
def test_whatever_is_accepted_gets_an_answer(client, accept, kind):
    answer = client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)


@pytest.mark.parametrize("request_id", ["x" * 65, "é", "a\tb"])
def test_a_request_id_that_fits_no_exemplar_is_replaced(client, request_id):
    made = client.get("/health", headers={"x-request-id": request_id.encode()}).headers["x-request-id"]
    assert made != request_id
    assert len(made) == 32


def test_nothing_a_client_sends_adds_label_values(client):
    before = {key for key in samples(client) if "unmatched" not in key and "other" not in key}
    for number in range(5):
        client.request(f"METHOD{number}", f"/nothing/{number}")
        client.request(f"METHOD{number}", "/api/run")
        file = (f"{number}.x{number}", b"")
        client.post("/api/upload/image", files={"file": file}, data={"image_type": f"t{number}"})
    after = [key for key in samples(client) if key not in before and "bucket" not in key[0]]
    assert not [key for key in after if "METHOD" in json.dumps(key) or "nothing" in json.dumps(key)]
    assert len(after) < 20


def test_names_and_units_are_as_prometheus_wants_them(client, upload):
    click(client, upload())
    text = client.get("/metrics").text
    run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (run.stdout + run.stderr, run.returncode) == ("", 0)
