"""TritonClient: every failure of the model server has a place in the error tree."""

import aiohttp
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from frontend_api.errors import InferenceTimeout, RegionUnknown, Saturated, TritonUnavailable, VersionGone
from frontend_api.triton.client import TritonClient


@pytest.fixture
async def client():
    client = TritonClient("127.0.0.1:9", timeout=1)
    yield client
    await client.close()


def failing(error):
    async def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (InferenceServerException("[request id: 7] Exceeds maximum queue size"), Saturated),
        (InferenceServerException("Request timeout expired"), InferenceTimeout),
        (InferenceServerException("Request for unknown model: 'sam_decoder' version 3 is not found"), VersionGone),
        (InferenceServerException("Request for unknown model: 'sam_decoder' has no available versions"), VersionGone),
        (InferenceServerException("Unable to find shared memory region: 'embeddings'"), RegionUnknown),
        (InferenceServerException("use '--shm-size' to control the shared memory region size"), TritonUnavailable),
        (InferenceServerException("Internal: something new"), TritonUnavailable),
        (TimeoutError(), InferenceTimeout),
        (aiohttp.ServerDisconnectedError(), TritonUnavailable),
        (ConnectionResetError(), TritonUnavailable),
    ],
)
async def test_a_failure_becomes_an_error_that_tells_nothing_internal(client, monkeypatch, failure, expected):
    monkeypatch.setattr(client._client, "infer", failing(failure))
    with pytest.raises(expected) as caught:
        await client.encode(3, np.zeros((1024, 1024, 3), np.uint8), (1024, 1024))
    assert type(caught.value) is expected
    assert caught.value.__cause__ is failure
    assert "sam_decoder" not in str(caught.value)


async def test_no_answer_is_to_be_compressed(client, monkeypatch):
    sent = {}

    async def post(headers, **_):
        sent.update(headers)
        raise TimeoutError

    monkeypatch.setattr(client._client, "_post", post)
    with pytest.raises(InferenceTimeout):
        await client.encode(3, np.zeros((1024, 1024, 3), np.uint8), (1024, 1024))
    assert sent["Accept-Encoding"] == "identity"


async def test_nobody_listening_is_unavailable(client):
    with pytest.raises(TritonUnavailable):
        await client.versions()


async def test_versions_by_model_tell_what_is_ready_and_the_first_words_of_why_not(client, monkeypatch):
    async def index():
        return [
            {"name": "sam_encoder", "version": "1", "state": "READY"},
            {"name": "sam_encoder", "version": "2", "state": "UNAVAILABLE", "reason": "no model.onnx\n\nAt:\n  /path"},
            {"name": "sam_decoder"},
            {"name": "another", "version": "1", "state": "READY"},
        ]

    monkeypatch.setattr(client._client, "get_model_repository_index", index)
    versions = await client.versions()
    assert {number: state.ready for number, state in versions["sam_encoder"].items()} == {1: True, 2: False}
    assert versions["sam_encoder"][2].reason == "no model.onnx"
    assert versions["sam_decoder"] == {}


@pytest.mark.parametrize(
    "answer", [None, {"error": "x"}, "<html>", [{"name": "sam_encoder", "version": "latest"}], ValueError()]
)
async def test_an_index_that_no_triton_would_answer_is_unavailable(client, monkeypatch, answer):
    async def index():
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(client._client, "get_model_repository_index", index)
    with pytest.raises(TritonUnavailable, match="no Triton"):
        await client.versions()
