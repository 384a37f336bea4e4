"""Whatever a client sends to the running service, no 500."""

import httpx
import pytest
import schemathesis
import skimage.data
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

pytestmark = pytest.mark.triton


@pytest.fixture
def schema(service, client):
    image_id = client.upload(skimage.data.coffee())
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")

    @schema.hook
    def map_body(context, body):
        # Otherwise every generated click ends at an unknown image.
        if isinstance(body, dict) and "original_image_id" in body:
            body["original_image_id"] = image_id
        return body

    return schema


lazy = schemathesis.pytest.from_fixture("schema")


@lazy.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_generated_request_yields_a_server_error(case):
    case.call_and_validate(checks=[not_a_server_error])


def test_no_mutated_image_yields_a_server_error(service, odd_pictures):
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for name, data in odd_pictures.items():
            answer = http.post("/api/upload/image", files={"file": (name, data)})
            assert answer.status_code in {200, 413, 415}, (name, answer.text)
            if answer.status_code == 200:
                fields = {
                    "original_image_id": answer.json()["image_id"],
                    "points": '[{"x": 0, "y": 0}]',
                    "labels": "[1]",
                }
                click = http.post("/api/run", data=fields)
                assert click.status_code == 200, (name, click.text)
