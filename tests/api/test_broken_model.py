"""Models whose answers are no numbers."""

import io

import numpy as np
import pytest
from PIL import Image

from frontend_api.inference import Embedding, Masks
from tests.support.fake_inference import IDENTITY

CLICK = {"points": [{"x": 30, "y": 40}], "labels": [1]}
BROKEN = "vit_fake/fp16/0000000000000bad"


@pytest.fixture
def spoil(inference):
    """Have the model of the identity `BROKEN` answer with NaN."""

    def spoil_(model, only=lambda image: True):
        encode, decode = inference.encode, inference.decode

        async def spoilt_encode(version, image, size):
            embedding = await encode(version, image, size)
            broken = model == "sam_encoder" and embedding.identity == BROKEN and only(image)
            return Embedding(embedding.values * np.nan, embedding.identity) if broken else embedding

        async def spoilt_decode(version, embedding, prompt):
            masks = await decode(version, embedding, prompt)
            broken = model == "sam_decoder" and masks.identity == BROKEN
            return Masks(masks.logits, masks.scores * np.inf, masks.identity) if broken else masks

        inference.encode, inference.decode = spoilt_encode, spoilt_decode

    return spoil_


def black():
    picture = io.BytesIO()
    Image.new("RGB", (300, 200)).save(picture, "PNG")
    return picture.getvalue()


@pytest.mark.parametrize("model", ["sam_encoder", "sam_decoder"])
def test_a_version_that_answers_with_no_numbers_gives_way_to_the_one_before(
    open_client, inference, spoil, photo_jpeg, model
):
    spoil(model)
    inference.models = {1: (IDENTITY, IDENTITY), 2: (BROKEN, BROKEN)}
    client = open_client()
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    answer = client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    assert answer.status_code == 200, answer.text
    assert [result["score"] for result in answer.json()["results"]] == pytest.approx([0.9, 0.7, 0.5])
    health = client.get("/health").json()
    assert health["model"]["identity"] == IDENTITY
    assert list(health["failed_versions"]) == [f"{model}/2"]


@pytest.mark.parametrize("model", ["sam_encoder", "sam_decoder"])
def test_where_no_other_version_is_left_the_reason_is_told(open_client, inference, spoil, photo_jpeg, model):
    spoil(model)
    inference.models = {2: (BROKEN, BROKEN)}
    client = open_client()
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    answer = client.post("/api/run", json=CLICK | {"original_image_id": image_id})
    assert answer.status_code == 503
    assert (
        f"no model can serve clicks: version 2 of {model} answers with values that are no finite numbers" in answer.text
    )
    assert client.get("/health/ready").status_code == 503


def test_one_image_that_a_model_cannot_encode_takes_no_version_out_of_service(
    open_client, inference, spoil, photo_jpeg
):
    spoil("sam_encoder", only=lambda image: image.any())
    inference.models = {2: (BROKEN, BROKEN)}
    client = open_client()
    white, blank = (
        client.post("/api/upload/image", files={"file": ("a", data)}).json()["image_id"]
        for data in (photo_jpeg, black())
    )
    answer = client.post("/api/run", json=CLICK | {"original_image_id": white})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "version 2 of sam_encoder answered with values that are no finite numbers" in answer.json()["detail"]
    assert client.post("/api/run", json=CLICK | {"original_image_id": blank}).status_code == 200
    assert client.get("/health").json()["failed_versions"] == {}
