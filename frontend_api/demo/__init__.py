"""The page at `/`: static files that call the API and nothing else."""

from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FOLDER = Path(__file__).with_name("static")
_HEADERS = {
    # After an upgrade nobody is shown the old one.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Headers:
    """Adds the page's headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, adding)


async def _page(_: Request) -> Response:
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)


def add_page(app: FastAPI) -> None:
    """Show the page at `/`; its parts lie below `/demo`."""
    app.router.routes.append(Route("/", _page, methods=["GET", "HEAD"]))
    app.router.routes.append(Mount("/demo", StaticFiles(directory=_FOLDER), middleware=[Middleware(_Headers)]))
