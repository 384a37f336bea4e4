"""BodyLimit: which limit a path has."""

import pytest
from starlette.exceptions import HTTPException

from frontend_api.middleware.body_limit import BodyLimit


async def read(scope, receive, send):
    while (await receive()).get("more_body"):
        pass


async def receive():
    return {"type": "http.request", "body": bytes(70_000)}  # of which 64 KiB may be what surrounds it


def request(path, root_path=""):
    return {"type": "http", "path": path, "root_path": root_path, "headers": []}


@pytest.mark.parametrize(("path", "root_path"), [("/short", ""), ("/sam/short", "/sam")])
async def test_a_path_has_its_own_limit_behind_a_root_path_too(path, root_path):
    limit = BodyLimit(read, 10_000, {"/short": 10})
    with pytest.raises(HTTPException, match="limit of 10 bytes"):
        await limit(request(path, root_path), receive, None)


async def test_other_paths_have_the_common_limit():
    await BodyLimit(read, 10_000, {"/short": 10})(request("/long"), receive, None)
    with pytest.raises(HTTPException, match="limit of 15 bytes"):
        await BodyLimit(read, 15, {"/short": 10})(request("/long"), receive, None)
