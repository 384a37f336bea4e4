"""What ``POST /api/run`` answers when asked for other forms than pictures."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from frontend_api.masks.polygons import outline
from tests.api.test_run import POINT, png, run
from tests.support.fake_inference import IDENTITY
from tests.support.masks import boxed


def results(client, image_id, **fields):
    answer = run(client, image_id, **POINT, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def sams_mask(client, image_id):
    """The best candidate's mask without smoothing or soft edge."""
    return np.asarray(png(results(client, image_id, feather_method="none")[0]["mask"])) == 255


def test_only_what_is_asked_for_is_answered(client, upload):
    for result in results(client, upload(), outputs="rle, measures"):
        assert set(result) == {"score", "rle", "measures"}


def test_the_best_candidates_come_alone_where_fewer_are_asked_for(client, upload):
    assert [round(r["score"], 3) for r in results(client, upload(), candidates="1")] == [0.9]
    assert [round(r["score"], 3) for r in results(client, upload(), candidates="2")] == [0.9, 0.7]


def test_geometry_is_that_of_sams_own_mask(client, upload):
    image_id = upload()
    mask = sams_mask(client, image_id)
    (result,) = results(client, image_id, outputs='["rle", "polygons", "measures"]', candidates="1")
    assert np.array_equal(coco.decode(result["rle"]), mask)
    assert result["polygons"] == outline(boxed(mask))
    assert result["measures"]["area"] == np.count_nonzero(mask)


def test_geometry_needs_no_pixels(client, upload, monkeypatch):
    async def fail(*_):
        raise AssertionError("pixels were asked for")

    image_id = upload()
    results(client, image_id)  # the encoder needs them
    monkeypatch.setattr("frontend_api.segmentation.pixels.Pixels.get", fail)
    (result,) = results(client, image_id, outputs="polygons", candidates="1")
    assert result["polygons"]


def test_a_webp_in_the_frame_is_what_is_asked_for(client, upload):
    (result,) = results(client, upload(), outputs="cutout", candidates="1", format="webp", quality="60", crop="frame")
    head, data = result["masked_image"].split(",", 1)
    assert head == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (300, 200)


def test_logits_of_an_answer_are_the_mask_prompt_of_the_next(client, upload, inference, monkeypatch):
    image_id, prompts = upload(), []
    decode = inference.decode

    async def noted(version, embedding, prompt):
        prompts.append(prompt)
        return await decode(version, embedding, prompt)

    monkeypatch.setattr(inference, "decode", noted)
    (result,) = results(client, image_id, outputs="logits", candidates="1")
    assert result["logits"]["identity"] == IDENTITY
    given = np.frombuffer(base64.b64decode(result["logits"]["data"]), "<f2").reshape(256, 256)
    assert run(client, image_id, logits=json.dumps(result["logits"]), outputs="rle").status_code == 200
    native = {"original_image_id": image_id, "logits": result["logits"], "outputs": ["rle"]}
    assert client.post("/api/run", json=native).status_code == 200
    for prompt in prompts[1:]:
        assert prompt.has_mask_input == 1
        assert np.array_equal(prompt.mask_input[0], given.astype(np.float32))


def test_logits_of_another_model_are_refused_in_a_sentence(client, upload):
    image_id = upload()
    (result,) = results(client, image_id, outputs="logits", candidates="1")
    answer = run(client, image_id, logits=json.dumps(result["logits"] | {"identity": "vit_b/fp32/1"}))
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"the logits were made by vit_b/fp32/1, but {IDENTITY} serves now")


HALF = base64.b64encode(bytes(2 * 256 * 256)).decode()
INFINITE = base64.b64encode(np.full((256, 256), np.inf, np.float16).tobytes()).decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"outputs": "masks"}, "outputs must be a list of some of cutout, mask, polygons, rle, logits, measures, got"),
        ({"outputs": "[]"}, "outputs must be a list of some of"),
        ({"outputs": "[["}, "outputs is not JSON"),
        ({"candidates": "0"}, "candidates must be 1, 2 or 3, got 0"),
        ({"candidates": "1.5"}, "candidates must be 1, 2 or 3, got 1.5"),
        ({"candidates": "true"}, "candidates must be 1, 2 or 3, got True"),
        ({"format": "jpeg"}, "format must be png or webp, got 'jpeg'"),
        ({"quality": "0"}, "quality must be a whole number from 1 to 100, got 0"),
        ({"quality": "101"}, "quality must be a whole number from 1 to 100, got 101"),
        ({"crop": "box"}, "crop must be object or frame, got 'box'"),
        ({"logits": "5"}, "logits must be what an earlier answer held"),
        ({"logits": json.dumps({"data": HALF[:-8], "identity": "x"})}, "logits must be what an earlier answer held"),
        ({"logits": json.dumps({"data": "!" * 100, "identity": "x"})}, "logits must be what an earlier answer held"),
        ({"logits": json.dumps({"data": INFINITE, "identity": "x"})}, "logits must be what an earlier answer held"),
        ({"logits": json.dumps({"data": HALF})}, "logits must be what an earlier answer held"),
        (
            {"logits": json.dumps({"data": HALF, "identity": IDENTITY}), "mask_image_id": "8" * 32},
            "logits and mask_image_id are both mask prompts; give one of them",
        ),
    ],
    ids=range(16),
)
def test_a_wrong_field_is_400_in_one_sentence(client, upload, fields, words):
    answer = run(client, upload(), **POINT, **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith(words)
    assert len(answer.json()["detail"]) < 250


def test_people_may_write_labels_and_boxes_without_brackets(client, upload):
    image_id = upload()
    points = '[{"x": 150, "y": 100}, {"x": 10, "y": 10}]'
    assert run(client, image_id, points=points, labels="1, 0", box="5, 5, 200, 150", outputs="rle").status_code == 200
