"""What routes ask for by type."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

from fastapi import Depends, Request

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
