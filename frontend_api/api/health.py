"""State of the service for people, probes and Prometheus."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from frontend_api.api.dependencies import ServicesDep
from frontend_api.api.schemas import HealthAnswer, ModelAnswer, error_answers
from frontend_api.errors import NoModelInService

router = APIRouter()


@router.head("/health", include_in_schema=False)
@router.get("/health", responses={503: {"model": HealthAnswer}})
async def health(services: ServicesDep, response: Response) -> HealthAnswer:
    """Return the state of the service, of Triton and of the model being served; 503 when clicks can't be served."""
    models = services.models
    try:
        served = models.current
        model, detail = (
            ModelAnswer(
                variant=served.variant,
                version=served.version,
                precision=served.precision,
                identity=served.identity,
                since=served.since,
                demonstration=served.demonstration,
            ),
            None,
        )
    except NoModelInService as error:
        model, detail = None, str(error)
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = str(error.retry_after)
    return HealthAnswer(
        status="ok" if model else "unavailable",
        triton="reachable" if models.reachable else "unreachable",
        model=model,
        detail=detail,
        failed_versions=dict(models.failures),
    )


@router.head("/health/live", status_code=HTTPStatus.NO_CONTENT, response_class=Response, include_in_schema=False)
@router.get("/health/live", status_code=HTTPStatus.NO_CONTENT, response_class=Response)
async def live() -> None:
    """Answer as long as the process runs."""


@router.head("/health/ready", status_code=HTTPStatus.NO_CONTENT, response_class=Response, include_in_schema=False)
@router.get("/health/ready", status_code=HTTPStatus.NO_CONTENT, response_class=Response, responses=error_answers(503))
async def ready(services: ServicesDep) -> None:
    """Answer 204 while clicks can be served."""
    _ = services.models.current


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, services: ServicesDep) -> Response:
    """Return the adapter's metrics as Prometheus text, or as OpenMetrics with exemplars where the client takes that."""
    registry = services.metrics.registry
    # Not prometheus_client's own choice, which fails where a version is no number.
    if "application/openmetrics-text" in request.headers.get("accept", ""):
        text = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return Response(text, media_type=openmetrics.CONTENT_TYPE_LATEST)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
