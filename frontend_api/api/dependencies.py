"""What routes ask for by type."""

import hmac
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader

from frontend_api.errors import Unauthorized
from frontend_api.services import Services


def services(request: Request) -> Services:
    """Return the services that the lifespan built."""
    built: Services = request.state.services
    return built


async def held() -> AsyncIterator[ExitStack]:
    """Yield what a request holds until its answer is written."""
    with ExitStack() as stack:
        yield stack


ServicesDep = Annotated[Services, Depends(services)]
HeldDep = Annotated[ExitStack, Depends(held, scope="request")]

_api_key = APIKeyHeader(name="X-API-Key", auto_error=False, description="needed where IMGR_API_KEYS is set")


def require_api_key(services: ServicesDep, key: Annotated[str | None, Security(_api_key)]) -> None:
    """Let a request pass if no keys are configured or it carries one of them. Raises Unauthorized."""
    accepted = services.settings.api_keys
    # Every key is compared, each in constant time: the answer's delay tells nothing about any of them.
    matches = [hmac.compare_digest((key or "").encode(), candidate.encode()) for candidate in accepted]
    if accepted and not any(matches):
        raise Unauthorized("this service asks for an API key; send one that it knows in the header X-API-Key")


class KeyBeforeBody(APIRoute):
    """A route that asks for the API key before its form is put down: FastAPI reads a body first, then it asks."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind the question for the key."""
        answer = super().get_route_handler()

        async def asked(request: Request) -> Response:
            require_api_key(services(request), await _api_key(request))
            return await answer(request)

        return asked
