"""Prometheus metrics of the adapter. Triton exports its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STAGES = ("decode", "preprocess", "encode", "queue", "decode_prompts", "refine", "encode_png")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The adapter's metrics in a registry of their own, so that two apps in one process don't collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "imgr_request_duration_seconds",
            "Time from the request's first byte to the answer's last",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "imgr_stage_duration_seconds",
            "Time spent in one stage of an upload or a click",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        for stage in STAGES:
            self.stages.labels(stage)
        self.cache_lookups = Counter(
            "imgr_cache_lookups_total",
            "Look-ups by cache (pixels, embedding) and where the value came from (memory, store, computed)",
            ("cache", "source"),
            registry=self.registry,
        )
        self.cache_bytes = Gauge("imgr_cache_bytes", "Bytes held by a memory cache", ("cache",), registry=self.registry)
        self.in_flight = Gauge(
            "imgr_in_flight", "Work admitted and not yet answered", ("kind",), registry=self.registry
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
            "1 for the model pair in service",
            ("version", "variant", "precision", "identity"),
            registry=self.registry,
        )
        self.model_up = Gauge(
            "imgr_model_in_service",
            "1 while an encoder and a decoder of one checkpoint are served",
            registry=self.registry,
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the time spent inside as stage `name` (one of `STAGES`), unless it raises."""
        started = perf_counter()
        yield
        self.stages.labels(name).observe(perf_counter() - started)
