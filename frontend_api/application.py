"""Puts the adapter together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TypedDict

from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from frontend_api.api import clicks, everything, health, images, uploads
from frontend_api.api.error_answers import add_error_answers, refusal
from frontend_api.demo import add_page
from frontend_api.inference import Inference
from frontend_api.metrics import Metrics
from frontend_api.middleware.api_keys import ApiKeys
from frontend_api.middleware.body_limit import BodyLimit
from frontend_api.middleware.request_log import RequestLog
from frontend_api.model.supervisor import Supervisor
from frontend_api.services import Services, open_services
from frontend_api.settings import Settings
from frontend_api.storage.object_store import disk_of

_LOGITS_BYTES = 256 * 1024  # of a mask prompt, as an earlier answer gave it
_POINT_BYTES = 256  # of a point and its label, indented and escaped in a form: at most about half of this


class State(TypedDict):
    """What the lifespan gives to every request."""

    services: Services


def create_app(settings: Settings, inference: Inference | None = None, supervisor: Supervisor | None = None) -> FastAPI:
    """Return the adapter.

    Args:
        settings: the adapter's settings.
        inference: stands in for Triton at `settings.triton_url`.
        supervisor: of that Triton, if it is our own.
    """
    metrics = Metrics(disk_of(settings.store))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with open_services(settings, metrics, inference, supervisor) as services:
            yield {"services": services}

    app = FastAPIOffline(
        title="Imgr",
        version=version("imgr"),
        summary="Interactive segmentation as a service: click on a photo, get a soft-edged cut-out.",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        static_url="/docs/static",  # beside /docs, so that a proxy that passes on /docs passes it on too
        # Traces where OTEL_EXPORTER_OTLP_ENDPOINT is set; what else there is to tell is in /metrics and in the log.
        telemetry={
            "auto_configure": True,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "exclude": lambda scope: scope["path"].startswith(("/health", "/metrics")),
        },
    )
    add_error_answers(app, metrics)
    # The middleware asks for the key; this tells OpenAPI of it.
    key = [Security(APIKeyHeader(name="X-API-Key", auto_error=False))] if settings.api_keys else []
    for module in (uploads, clicks, everything, images):
        app.include_router(module.router, dependencies=key)
    app.include_router(health.router)
    add_page(app)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_upload_bytes,
        # It is parsed on the event loop, where everybody else waits for it.
        max_bytes_of={"/api/run": settings.max_points * _POINT_BYTES + _LOGITS_BYTES, "/api/images/": 0},
    )
    if settings.api_keys:
        app.add_middleware(ApiKeys, keys=settings.api_keys, refuse=partial(refusal, metrics=metrics))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Content-Type", "X-API-Key", "X-Request-ID", "traceparent", "tracestate"],
        expose_headers=["Retry-After", "X-Request-ID"],
    )
    app.add_middleware(RequestLog, metrics=metrics)
    return app
