"""Traces: one for each request, a span for each stage, and Triton told of both."""

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from frontend_api.errors import TritonUnavailable
from frontend_api.triton.client import TritonClient
from tests.support.service import Adapter

CLICK = {"points": [{"x": 10, "y": 10}], "labels": [1]}
PARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


@pytest.fixture(scope="module")
def in_memory():
    """What the process's tracer provider exports to. A provider can be set once and stays; this then keeps no more."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    exporter.shutdown()


@pytest.fixture
def exporter(in_memory):
    in_memory.clear()
    return in_memory


def test_a_click_is_a_trace_with_a_span_for_each_stage_that_continues_the_callers(exporter, client, upload):
    image_id = upload()
    uploaded = {span.name for span in exporter.get_finished_spans()}
    assert {"POST /api/upload/image", "decode", "store"} <= uploaded
    client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    exporter.clear()
    answer = client.post(
        "/api/run",
        json=CLICK | {"original_image_id": image_id},
        headers={"traceparent": PARENT, "x-request-id": "find-me"},
    )
    assert answer.status_code == 200
    spans = exporter.get_finished_spans()
    (request,) = (span for span in spans if span.name == "POST /api/run")
    assert request.attributes["imgr.request_id"] == "find-me"
    assert request.attributes["http.response.status_code"] == 200
    stages = [span for span in spans if span is not request]
    assert {span.name for span in stages} == {"store", "embedding", "decode_prompts", "queue", "refine", "encode_png"}
    assert len([span for span in stages if span.name == "refine"]) == 3  # in other threads
    for span in spans:
        assert trace.format_trace_id(span.context.trace_id) == PARENT.split("-")[1]
        assert request.start_time <= span.start_time <= span.end_time
    for span in stages:
        assert span.parent.span_id == request.context.span_id


def test_an_encode_made_ahead_belongs_to_its_upload(exporter, client, upload):
    image_id = upload()
    while not client.get(f"/api/images/{image_id}").json()["embedding_ready"]:
        pass
    spans = {span.name: span for span in exporter.get_finished_spans()}
    for stage in ("encode_queue", "preprocess", "encode"):
        assert spans[stage].context.trace_id == spans["POST /api/upload/image"].context.trace_id


def test_exemplars_name_the_trace(exporter, client, upload):
    client.post("/api/run", json=CLICK | {"original_image_id": upload()}, headers={"traceparent": PARENT})
    text = client.get("/metrics", headers={"accept": "application/openmetrics-text"}).text
    traces = {
        sample.exemplar.labels.get("trace_id")
        for family in parse_openmetrics(text)
        for sample in family.samples
        if sample.exemplar
    }
    assert PARENT.split("-")[1] in traces


def test_probes_and_scrapes_are_no_traces(exporter, client):
    for path in ("/health", "/health/live", "/metrics"):
        client.get(path)
    assert exporter.get_finished_spans() == ()


class Server:
    """An HTTP server that keeps what it is sent and answers with an error."""

    def __init__(self, status):
        received = self.received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                received.append((self.path, self.headers, self.rfile.read(int(self.headers["content-length"] or 0))))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def open_server():
    servers = []

    def open_(status):
        servers.append(Server(status))
        return servers[-1]

    yield open_
    for server in servers:
        server.close()


async def test_triton_is_told_of_the_span_that_asks(exporter, open_server):
    triton = open_server(500)
    client = TritonClient(triton.address, 5)
    try:
        with trace.get_tracer("test").start_as_current_span("encode") as span, pytest.raises(TritonUnavailable):
            await client.encode(1, np.zeros((1024, 1024, 3), np.uint8), (1024, 1024))
    finally:
        await client.close()
    ((_, headers, _),) = triton.received
    context = span.get_span_context()
    trace_id, span_id = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    assert headers["traceparent"].startswith(f"00-{trace_id}-{span_id}-")


def test_an_endpoint_in_the_environment_turns_traces_on(open_server, photo_jpeg, tmp_path, monkeypatch):
    collector = open_server(200)
    for name, value in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
        "OTEL_SERVICE_NAME": "imgr",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }.items():
        monkeypatch.setenv(name, value)
    adapter = Adapter([9], (tmp_path / "store").as_uri(), tmp_path / "log")
    try:
        adapter.wait_until("/health/live")
        httpx.post(f"{adapter.url}/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).raise_for_status()
        deadline = time.monotonic() + 30
        while not collector.received:
            assert time.monotonic() < deadline, adapter.text()
            time.sleep(0.05)
    finally:
        adapter.stop()
    assert {path for path, _, _ in collector.received} == {"/v1/traces"}
    names = {
        span.name
        for _, _, body in collector.received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert {"POST /api/upload/image", "decode", "store"} <= names


def test_without_an_endpoint_not_even_the_sdk_is_loaded():
    script = (
        "import sys; from starlette.testclient import TestClient; from frontend_api.main import app\n"
        "with TestClient(app) as client: client.get('/health')\n"
        "assert 'opentelemetry.sdk.trace' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], env={"IMGR_STORE": "memory:///"}, check=True)
