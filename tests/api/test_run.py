"""POST /api/run."""

import base64
import io
import json
import tempfile
import uuid
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from tests.support.service_client import shown

POINT = {"points": '[{"x": 150, "y": 100}]', "labels": "[1]"}


def png(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def run(client, image_id, **fields):
    return client.post("/api/run", data={"original_image_id": image_id} | fields)


def test_a_click_returns_three_candidates_best_score_first(client, upload):
    results = run(client, upload(), **POINT).json()["results"]
    assert [round(r["score"], 3) for r in results] == [0.9, 0.7, 0.5]
    assert all(set(r) == {"masked_image", "mask", "score"} for r in results)


def test_masks_have_the_image_size_and_cutouts_are_cropped_to_their_alpha(client, upload):
    for result in run(client, upload(), **POINT).json()["results"]:
        mask, cutout = png(result["mask"]), png(result["masked_image"])
        assert (mask.mode, mask.size) == ("L", (300, 200))
        alpha = np.asarray(mask)
        ys, xs = np.nonzero(alpha)
        assert cutout.mode == "RGBA"
        np.testing.assert_array_equal(
            np.asarray(cutout)[..., 3], alpha[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        )
        assert alpha[100, 150] == 255


def test_json_and_both_kinds_of_form_mean_the_same(client, upload):
    image_id = upload()
    native = {"original_image_id": image_id, "points": [{"x": 150, "y": 100}], "labels": [1]}
    urlencoded = run(client, image_id, **POINT)
    multipart = client.post(
        "/api/run", files={k: (None, v) for k, v in (POINT | {"original_image_id": image_id}).items()}
    )
    as_json = client.post("/api/run", json=native)
    assert shown(urlencoded) == shown(multipart) == shown(as_json)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"points": "[{", "labels": "[1]"}, 400, "points is not JSON"),
        ({"points": '{"x": 1, "y": 2}', "labels": "[1]"}, 400, "points must be a list"),
        ({"points": '[{"x": 1}]', "labels": "[1]"}, 400, "finite numbers"),
        ({"points": '[{"x": "1", "y": 2}]', "labels": "[1]"}, 400, "finite numbers"),
        ({"points": '[{"x": true, "y": 2}]', "labels": "[1]"}, 400, "finite numbers"),
        ({"points": '[{"x": NaN, "y": 2}]', "labels": "[1]"}, 400, "not JSON"),
        ({"points": '[{"x": 1e999, "y": 2}]', "labels": "[1]"}, 400, "points"),
        ({"points": "[" * 5000, "labels": "[1]"}, 400, "not JSON"),
        (
            {"points": '[{"x": 1, "y": 2}]', "labels": "[2]"},
            400,
            "label must be 1 (foreground) or 0 (background), got 2",
        ),
        ({"points": '[{"x": 1, "y": 2}]', "labels": "[true]"}, 400, "label must be 1"),
        ({"points": '[{"x": 1, "y": 2}]', "labels": "[1, 0]"}, 400, "1 points but 2 labels"),
        (
            {"points": '[{"x": 301, "y": 2}]', "labels": "[1]"},
            400,
            "point (301, 2) lies outside the image of 300 × 200",
        ),
        ({"points": '[{"x": -0.5, "y": 2}]', "labels": "[1]"}, 400, "outside"),
        ({}, 400, "no prompt"),
        ({"points": "[]", "labels": "[]"}, 400, "no prompt"),
        ({"box": "[1, 2, 3]"}, 400, "four finite numbers"),
        ({"box": "[50, 20, 40, 30]"}, 400, "x0 < x1"),
        ({"box": "[0, 0, 301, 200]"}, 400, "300 × 200"),
        ({"box": "[0, 0, 300, 200.5]"}, 400, "300 × 200"),
        ({"box": "[-0.5, 0, 300, 200]"}, 400, "300 × 200"),
        ({"box": "[0, -0.5, 300, 200]"}, 400, "300 × 200"),
        (POINT | {"feather_method": "gauss"}, 400, "feather_method must be one of none, linear"),
        (POINT | {"feather_width": "-1"}, 400, "feather_width must be a number from 0 to 256"),
        (POINT | {"feather_width": "1e3"}, 400, "feather_width"),
        (POINT | {"mask_image_id": "nonsense"}, 422, "mask_image_id must be a UUID, got 'nonsense'"),
        (POINT | {"mask_image_id": str(uuid.uuid4())}, 404, "no image"),
        ({"points": json.dumps([{"x": 1, "y": 1}] * 513), "labels": "[1]"}, 400, "513 points; the limit is 512"),
        ({"points": "[]", "labels": json.dumps([1] * 513)}, 400, "513 labels; the limit is 512"),
    ],
)
def test_a_malformed_prompt_gets_one_sentence(client, upload, fields, status, words):
    answer = run(client, upload(), **fields)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{}", "application/json", 422),
        (b'{"original_image_id": 7}', "application/json", 422),
        (b"", "application/x-www-form-urlencoded", 422),
        (b"original_image_id=%FF%00", "application/x-www-form-urlencoded", 422),
        (b"hello", "text/plain", 422),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 422),
        (b"whatever", "multipart/form-data", 400),
        (
            b'--x\r\nContent-Disposition: form-data; name="points"\r\n\r\n[]\r\n--x--\r\n',
            "multipart/form-data; boundary=x; charset=undefined",
            400,
        ),
    ],
)
def test_a_malformed_body_is_refused_in_the_same_shape(client, body, kind, status):
    answer = client.post("/api/run", content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize(
    "name", ["original_image_id", "mask_image_id", "points", "labels", "box", "feather_method", "feather_width"]
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_deeply_nested_value_is_refused_in_a_short_sentence(client, name, content_type):
    image_id, nested = str(uuid.uuid4()), "[" * 1000 + "]" * 1000
    if content_type == "application/json":
        body = f'{{"original_image_id": "{image_id}", "{name}": {nested}}}'  # where a key stands twice, the last counts
    else:
        body = urlencode({"original_image_id": image_id} | {name: nested})
    answer = client.post("/api/run", content=body, headers={"content-type": content_type})
    assert answer.status_code in {400, 422}, answer.text
    assert name.rstrip("s") in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 250


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_far_longer_than_any_prompt_is_413_although_an_upload_may_be_longer(client, kind, declared):
    body = b'{"labels": [' + b"1, " * 200_000 + b"1]}"
    answer = client.post("/api/run", content=body if declared else iter([body]), headers={"content-type": kind})
    assert answer.status_code == 413
    assert answer.json() == {"detail": "the request body exceeds the limit of 393216 bytes"}


@pytest.mark.parametrize("count", [512, 2000])
def test_as_many_points_as_allowed_fit_into_the_body_in_the_longest_writing(open_client, count, photo_jpeg):
    client = open_client(max_points=count)
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    points = json.dumps([{"x": 2.2250738585072014e-308, "y": 2.2250738585072014e-308}] * count, indent=4)
    answer = run(client, image_id, points=points, labels=json.dumps([1] * count, indent=4))
    assert answer.status_code == 200, answer.text


@pytest.fixture
def files(monkeypatch):
    """The files that forms were put into."""
    opened = []

    class Recorded(tempfile.SpooledTemporaryFile):
        def __init__(self, **options):
            super().__init__(**options)
            opened.append(self)

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", Recorded)
    return opened


@pytest.mark.parametrize("name", ["original_image_id", "points", "feather_method"])
def test_a_file_in_place_of_a_text_is_refused_and_closed(client, files, name):
    texts = {"original_image_id": str(uuid.uuid4())} | POINT
    texts.pop(name, None)
    answer = client.post("/api/run", data=texts, files={name: ("blob", b"[1]")})
    assert answer.status_code == 422
    assert f"{name} must be text, got a file" in answer.json()["detail"]
    assert [file.closed for file in files] == [True]


def test_a_file_that_no_field_is_named_for_is_ignored_and_closed(client, upload, files):
    image_id = upload()
    files.clear()
    answer = client.post("/api/run", data={"original_image_id": image_id} | POINT, files={"photo": ("a", b"a")})
    assert answer.status_code == 200
    assert [file.closed for file in files] == [True]


def test_an_unknown_image_is_404(client):
    assert run(client, str(uuid.uuid4()), **POINT).status_code == 404


def test_an_upload_in_the_wrong_role_is_400(client, upload, photo_jpeg):
    original, mask = upload(), upload(image_type="mask")
    assert "is a mask" in run(client, mask, **POINT).json()["detail"]
    answer = run(client, original, **POINT, mask_image_id=original)
    assert answer.status_code == 400
    assert "is an original" in answer.json()["detail"]


def test_a_mask_alone_is_a_prompt(client, upload):
    answer = run(client, upload(), mask_image_id=upload(image_type="mask"))
    assert answer.status_code == 200


def test_a_mask_of_another_shape_is_400(client, upload):
    buffer = io.BytesIO()
    Image.new("L", (100, 400), 255).save(buffer, "PNG")
    answer = run(client, upload(), **POINT, mask_image_id=upload(buffer.getvalue(), image_type="mask"))
    assert answer.status_code == 400
    assert "100" in answer.json()["detail"]


def test_a_second_click_does_not_encode_again(client, upload, inference):
    image_id = upload()
    for _ in range(3):
        assert run(client, image_id, **POINT).status_code == 200
    assert inference.calls["encode"] == 1
    assert inference.calls["decode"] == 3


def test_feather_none_gives_a_hard_edge_and_width_widens_it(client, upload):
    image_id = upload()

    def alpha(**fields):
        return np.asarray(png(run(client, image_id, **POINT, **fields).json()["results"][0]["mask"]))

    hard, narrow, wide = alpha(feather_method="none"), alpha(feather_width="3"), alpha(feather_width="20")
    assert set(np.unique(hard)) == {0, 255}
    assert (hard > 0).sum() < (narrow > 0).sum() < (wide > 0).sum()


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"feather_method": "none"}, {"feather_method": "none"}),
        ({"feather_width": 20.0}, {"feather_width": "20"}),
    ],
)
def test_the_edge_that_no_request_names_is_the_operators(open_client, client, upload, photo_jpeg, changes, fields):
    named = shown(run(client, upload(), **POINT, **fields))
    assert named != shown(run(client, upload(), **POINT))
    other = open_client(**changes)
    image_id = other.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    assert shown(run(other, image_id, **POINT)) == named


def test_more_points_than_the_operator_allows_are_400(open_client, photo_jpeg):
    client = open_client(max_points=1)
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    two = {"points": json.dumps([{"x": 1, "y": 1}] * 2), "labels": "[1, 1]"}
    assert run(client, image_id, **two).json() == {"detail": "there are 2 points; the limit is 1"}
    assert run(client, image_id, **POINT).status_code == 200
