"""Prometheus metrics of the adapter, and the same stages as spans where traces are on. Triton exports its own."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import nan
from pathlib import Path
from time import perf_counter, time_ns

import structlog
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

STAGES = (
    "store",  # reading or writing the object store in a request's way
    "decode",  # uploaded bytes to pixels
    "encode_queue",  # an image's wait for the encoder
    "preprocess",
    "encode",
    "embedding",  # a click's wait for the embedding: next to nothing if it is in memory
    "queue",  # a wait for a worker thread
    "decode_prompts",
    "refine",
    "encode_png",
)
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Finer where the objective for clicks lies: quantiles are interpolated between these.
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

disable_created_metrics()  # type: ignore[no-untyped-call]  # one series more for each counter and histogram, and nobody asks for them


class Metrics:
    """The adapter's metrics in a registry of their own, so that two apps in one process don't collide.

    Args:
        disk: a folder on the file system that the store fills; None where the store knows no limit.
    """

    def __init__(self, disk: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._tracer = trace.get_tracer("imgr")  # does nothing unless a provider is configured
        ProcessCollector(registry=self.registry)
        self._requests = Histogram(
            "imgr_request_duration_seconds",
            "Time from the request's first byte to the answer's last",
            ("route", "method", "status"),
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "imgr_stage_duration_seconds",
            "Time spent in one stage of an upload, an encode or a click",
            ("stage",),
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self.cache_lookups = Counter(
            "imgr_cache_lookups_total",
            "What clicks and encodes took from a cache (pixels, embedding), by where it came from "
            "(memory, store, computed)",
            ("cache", "source"),
            registry=self.registry,
        )
        self.cache_bytes = Gauge("imgr_cache_bytes", "Bytes held by a memory cache", ("cache",), registry=self.registry)
        self.cache_limit = Gauge(
            "imgr_cache_limit_bytes", "Most bytes that a memory cache may hold", ("cache",), registry=self.registry
        )
        self.in_flight = Gauge(
            "imgr_in_flight",
            "Work admitted and not yet answered, by kind; answer_bytes: answers not yet taken",
            ("kind",),
            registry=self.registry,
        )
        self.in_flight_limit = Gauge(
            "imgr_in_flight_limit", "Most work admitted at once; more is refused", ("kind",), registry=self.registry
        )
        self.encodes_waiting = Gauge(
            "imgr_encodes_waiting", "Images waiting for the encoder in the adapter", registry=self.registry
        )
        self.encodes_waiting_limit = Gauge(
            "imgr_encodes_waiting_limit",
            "Images waiting beyond which uploads are not encoded ahead",
            registry=self.registry,
        )
        self.rejections = Counter(
            "imgr_rejections_total",
            "Requests answered with an error, by error",
            ("error",),
            registry=self.registry,
        )
        self.uploads = Counter("imgr_uploads_total", "Images stored, by format", ("format",), registry=self.registry)
        self.model_info = Gauge(
            "imgr_model_info",
            "1 for the model in service, encoder and decoder of one checkpoint",
            ("version", "variant", "precision", "identity"),
            registry=self.registry,
        )
        self.model_up = Gauge(
            "imgr_model_in_service",
            "1 while an encoder and a decoder of one checkpoint are served",
            registry=self.registry,
        )
        self.model_failures = Gauge(
            "imgr_model_load_failure",
            "1 for a model version that can't be served; the model is 'pair' where encoder and decoder of a version "
            "don't belong together, the version is empty where a model's folder or config.pbtxt can't be read",
            ("model", "version"),
            registry=self.registry,
        )
        self.model_since = Gauge(
            "imgr_model_since_timestamp_seconds",
            "When the model in service, or the lack of one, began",
            registry=self.registry,
        )
        self.model_since.set_to_current_time()
        if disk is not None:
            for name, field, meaning in (("free", "free", "Room left"), ("size", "total", "Size")):
                Gauge(
                    f"imgr_store_{name}_bytes", f"{meaning} on the file system of the store", registry=self.registry
                ).set_function(_usage(disk, field))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the time spent inside as stage `name` (one of `STAGES`), unless it raises."""
        with self._tracer.start_as_current_span(name):
            started = perf_counter()
            yield
            self._stages.labels(name).observe(perf_counter() - started, _exemplar())

    def waited(self, name: str, seconds: float) -> None:
        """Record a stage that took `seconds` and has just ended."""
        self._stages.labels(name).observe(seconds, _exemplar())
        now = time_ns()
        self._tracer.start_span(name, start_time=now - int(1e9 * seconds)).end(now)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record an answered request; `route` is a template, because label values must stay few."""
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).observe(seconds, _exemplar())


def _exemplar() -> dict[str, str] | None:
    """Return what links a sample to log and trace: the ids of the request on whose behalf this runs."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    span = trace.get_current_span().get_span_context()
    ids = {} if request_id is None else {"request_id": str(request_id)}
    if span.trace_flags.sampled:
        ids["trace_id"] = trace.format_trace_id(span.trace_id)
    return ids or None


def _usage(folder: Path, field: str) -> Callable[[], float]:
    def read() -> float:
        try:
            return float(getattr(shutil.disk_usage(folder), field))
        except OSError:  # a store that is gone is no reason to lose every other metric
            return nan

    return read
