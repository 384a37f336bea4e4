"""A page to try the service by hand; the product's frontend lives elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)


@router.head("/")
@router.get("/")
async def page() -> FileResponse:
    """Return the page. After an upgrade nobody is shown the old one."""
    return FileResponse(Path(__file__).with_name("index.html"), headers={"Cache-Control": "no-cache"})
