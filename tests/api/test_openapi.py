"""The published schema: complete, and nothing generated from it or against it yields a 500."""

import re

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from frontend_api.application import create_app
from frontend_api.settings import Settings
from tests.support.fake_inference import FakeInference

app = create_app(Settings(store="memory:///"), FakeInference())
schema = schemathesis.openapi.from_asgi("/openapi.json", app)
schema.config.generation.update(modes=list(GenerationMode))


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_generated_request_yields_a_server_error(case):
    response = case.call()
    if response.status_code != 503:  # documented: no model in service yet
        case.validate_response(response, checks=[not_a_server_error])


def test_every_operation_documents_its_errors_and_an_example(client):
    document = client.get("/openapi.json").json()
    documented = {
        ("/api/upload/image", "post"): {"200", "400", "401", "413", "415", "422", "503"},
        ("/api/run", "post"): {"200", "400", "401", "404", "413", "422", "503", "504"},
        ("/api/images/{image_id}", "get"): {"200", "401", "404", "422", "503"},
        ("/api/images/{image_id}", "delete"): {"204", "401", "404", "422", "503"},
        ("/api/images/{image_id}/everything", "post"): {"200", "400", "401", "404", "413", "422", "503", "504"},
        ("/metrics", "get"): {"200"},
    }
    for (path, method), statuses in documented.items():
        operation = document["paths"][path][method]
        assert operation["responses"].keys() == statuses
        assert operation["description"]
        for answer in (answer for status, answer in operation["responses"].items() if status == "503"):
            assert "Retry-After" in answer["headers"]
    assert "HTTPValidationError" not in document["components"]["schemas"], "the contract has one shape of errors"
    body = document["paths"]["/api/run"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/x-www-form-urlencoded", "application/json"}
    assert body["application/json"]["schema"]["example"]["points"]
    form = body["multipart/form-data"]["schema"]["properties"]
    assert not [name for name, field in form.items() if "null" in str(field)], "a form can't say null"
    assert client.get("/docs").status_code == 200


def test_every_reference_in_the_document_leads_somewhere(client):
    text = client.get("/openapi.json").text
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= schemas.keys()
    assert "$defs" not in text


def test_the_document_asks_for_a_key_only_where_keys_are_configured(client, open_client):
    def asks(document):
        return [path for path, methods in document["paths"].items() for way in methods.values() if "security" in way]

    assert asks(client.get("/openapi.json").json()) == []
    assert set(asks(open_client(api_keys="alpha").get("/openapi.json").json())) == {
        "/api/upload/image",
        "/api/run",
        "/api/images/{image_id}",
        "/api/images/{image_id}/everything",
    }
