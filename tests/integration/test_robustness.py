"""Whatever a client sends to the running service, no 500."""

import httpx
import pytest
import schemathesis
import skimage.data
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans
from schemathesis import GenerationMode

from tests.support.pictures import pictures

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_generated_request_yields_a_server_error(service, client, mode):
    image_id = client.upload(skimage.data.coffee())
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    statuses = set()
    for result in schema.include(path_regex="^/api/").get_all_operations():  # the others take nothing
        operation = result.ok()

        @given(case=operation.as_strategy(generation_mode=mode), prompt_is_right=booleans())
        @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def no_server_error(case, prompt_is_right):
            # Left to chance, every click would end at an unknown image or a point outside of it.
            if isinstance(case.body, dict) and "original_image_id" in case.body:
                case.body["original_image_id"] = image_id
                case.body.pop("mask_image_id", None)
                if prompt_is_right:
                    case.body |= {"points": '[{"x": 9, "y": 9}]', "labels": "[1]"}
                    case.body.pop("box", None)
            answer = case.call()
            statuses.add((case.path, answer.status_code))
            assert answer.status_code < 500, answer.text

        no_server_error()
    if mode is GenerationMode.POSITIVE:
        assert ("/api/run", 200) in statuses


def test_no_odd_or_damaged_picture_yields_a_server_error(service):
    cases = {name: picture.data for name, picture in pictures().items()}
    cases |= {f"half a {name}": data[: len(data) // 2] for name, data in cases.items()}
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for name, data in cases.items():
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
