"""``POST /api/images/{image_id}/everything`` over a model that draws discs around each point."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco

from frontend_api.errors import TritonUnavailable
from tests.support.fake_inference import IDENTITY

ALL = {"min_score": 0.6, "min_stability": 0.5}


def search(client, image_id, **asked):
    return client.post(f"/api/images/{image_id}/everything", json=asked)


def lines(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_search_tells_its_progress_its_objects_and_that_it_is_done(client, upload):
    told = lines(search(client, upload(), grid=2, **ALL))
    progress = [line["progress"] for line in told if "progress" in line]
    objects = [line["object"] for line in told if "object" in line]
    assert progress == [0.5, 1.0]
    assert told[-1] == {"done": {"objects": len(objects), "identity": IDENTITY}}
    # Of three discs around each of four points the two with scores above 0.6; no box is another's.
    assert [one["score"] for one in objects] == pytest.approx([0.9] * 4 + [0.7] * 4)
    assert {tuple(one["point"]) for one in objects} == {(75, 50), (225, 50), (75, 150), (225, 150)}
    for one in objects:
        mask = coco.decode({**one["rle"], "counts": one["rle"]["counts"].encode()})
        assert mask.shape == (200, 300)
        assert mask.sum() == one["measures"]["area"]
        assert coco.toBbox(coco.encode(np.asfortranarray(mask))).tolist() == one["measures"]["bbox"]
        assert "polygons" not in one


def test_polygons_come_where_they_are_asked_for(client, upload):
    told = lines(search(client, upload(), grid=1, outputs=["polygons"], **ALL))
    found = [line["object"] for line in told if "object" in line]
    assert found
    assert all(one["polygons"][0]["outer"] and "rle" not in one for one in found)


@pytest.mark.parametrize(
    ("asked", "scores"),
    [
        ({"min_score": 0.8}, [0.9]),
        ({"min_score": 0.95}, []),
        ({"min_area": 10**5}, []),
        ({"min_stability": 1}, []),
        ({"max_overlap": 0}, [0.9]),
    ],
)
def test_thresholds_leave_out_what_is_below_them(client, upload, asked, scores):
    told = lines(search(client, upload(), grid=1, **ALL | asked))
    assert [line["object"]["score"] for line in told if "object" in line] == pytest.approx(scores)


def test_a_search_without_a_body_takes_the_defaults(client, upload, inference):
    answer = client.post(f"/api/images/{upload()}/everything")
    assert "done" in lines(answer)[-1]
    assert inference.calls["decode"] == 64


def test_a_search_that_was_made_before_is_answered_from_the_store(client, upload, inference):
    image_id = upload()
    first = lines(search(client, image_id, grid=2, **ALL))
    asked = inference.calls["decode"]
    assert lines(search(client, image_id, grid=2, **ALL)) == [line for line in first if "progress" not in line]
    assert inference.calls["decode"] == asked
    lines(search(client, image_id, grid=2, **ALL | {"min_score": 0.5}))
    assert inference.calls["decode"] > asked


def test_what_was_found_goes_with_its_photo(client, upload):
    image_id = upload()
    lines(search(client, image_id, grid=1))
    assert client.delete(f"/api/images/{image_id}").status_code == 204
    assert search(client, image_id, grid=1).status_code == 404


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"grid": 0}, "grid must be a whole number from 1 to 64, got 0"),
        ({"grid": "8"}, "grid must be a whole number from 1 to 64, got '8'"),
        ({"grid": 33}, "grid must be at most 32 here, got 33"),
        ({"min_score": 1.5}, "min_score must be a number from 0 to 1, got 1.5"),
        ({"min_stability": None}, "min_stability must be a number from 0 to 1, got None"),
        ({"max_overlap": -1}, "max_overlap must be a number from 0 to 1, got -1"),
        ({"min_area": -1}, "min_area must be a whole number of pixels, not negative, got -1"),
        ({"outputs": ["mask"]}, "outputs must be a list of some of rle, polygons, got ['mask']"),
    ],
)
def test_bad_parameters_are_refused_in_a_sentence(client, upload, asked, sentence):
    answer = search(client, upload(), **asked)
    assert (answer.status_code, answer.json()["detail"]) == (400, sentence)


def test_what_is_no_parameter_and_a_body_too_large_are_refused(client, upload):
    image_id = upload()
    assert search(client, image_id, grids=3).status_code == 422
    assert search(client, image_id, outputs=["x" * 10**5]).status_code == 413


def test_masks_are_not_searched(client, upload):
    answer = search(client, upload(image_type="mask"))
    assert answer.status_code == 400
    assert "search an original" in answer.json()["detail"]


def test_a_failure_is_told_by_the_status_before_and_by_a_line_after_the_search_has_begun(
    client, upload, inference, monkeypatch
):
    image_id = upload()
    decode = inference.decode

    async def breaking(*arguments):
        if inference.calls["decode"] > 3:
            inference.error = TritonUnavailable("Triton does not answer; try again shortly")
        return await decode(*arguments)

    monkeypatch.setattr(inference, "decode", breaking)
    told = lines(search(client, image_id, grid=4))
    assert told[-1] == {"error": "Triton does not answer; try again shortly"}
    answer = search(client, image_id, grid=4)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_a_model_that_changes_meanwhile_ends_the_search(client, upload, inference, monkeypatch):
    image_id = upload()
    decode = inference.decode

    async def replacing(*arguments):
        if inference.calls["decode"] == 3:
            inference.models = {2: ("vit_fake/fp32/fedcba9876543210",) * 2}
        return await decode(*arguments)

    monkeypatch.setattr(inference, "decode", replacing)
    told = lines(search(client, image_id, grid=4))
    assert told[-1] == {"error": "the model was replaced while the photo was searched; search it again"}
