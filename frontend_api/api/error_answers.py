"""Every error leaves as ``{"detail": "…"}`` with the status of the one table in `frontend_api.errors`."""

from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from frontend_api.errors import NoRoom, ServiceError, Unavailable, status_of
from frontend_api.metrics import Metrics

log = structlog.stdlib.get_logger("imgr.errors")


def refusal(error: ServiceError, metrics: Metrics) -> Response:
    """Return the answer to a request that `error` ended."""
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Unavailable) else None
    return _answer(metrics, error, status_of(error), str(error), headers)


def _answer(
    metrics: Metrics, error: Exception, status: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    metrics.rejections.labels(type(error).__name__).inc()
    return JSONResponse({"detail": detail}, status, headers)


def add_error_answers(app: FastAPI, metrics: Metrics) -> None:
    """Register the handlers of all errors on `app`."""
    answer = partial(_answer, metrics)

    async def service_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)  # noqa: S101 - registered for this class alone
        return refusal(error, metrics)

    async def client_gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        if isinstance(error.__cause__, ClientDisconnect):  # met by FastAPI, which takes it for a malformed body
            return await client_gone(request, error)
        if isinstance(error.__cause__, OSError):  # FastAPI blames the client for a body that it could not put down
            log.error("a request could not be received", error=str(error.__cause__))
            return await service_error(request, NoRoom())
        return answer(error, error.status_code, str(error.detail), dict(error.headers or {}))

    async def validation_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return answer(error, 422, "; ".join(map(_in_words, error.errors())))

    async def unexpected(request: Request, error: Exception) -> Response:
        # Starlette answers this one outside of all middleware.
        request_id = request.scope["request_id"]
        log.error("unexpected error", exc_info=error, request_id=request_id)
        detail = "something went wrong inside the service; the request id is in X-Request-ID"
        return answer(error, 500, detail, {"X-Request-ID": request_id})

    app.add_exception_handler(ServiceError, service_error)
    app.add_exception_handler(ClientDisconnect, client_gone)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(Exception, unexpected)


def _in_words(problem: dict[str, Any]) -> str:
    """Return what pydantic finds wrong with a field, in words for whoever calls the service."""
    name = ".".join(map(str, problem["loc"][1:]))
    if problem["type"] == "missing":
        return f"the field {name} is missing"
    if "Expected UploadFile" in problem["msg"]:
        return f"{name} must be a file, got text; send the picture as a part with a file name"
    return f"{name}: {problem['msg']}"
