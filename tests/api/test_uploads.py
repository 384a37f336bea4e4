"""POST /api/upload/image, GET and DELETE /api/images/{id}."""

import io
import tempfile
import time
import uuid
from threading import Event, Thread

import pytest
from PIL import Image
from pydantic import ValidationError

from frontend_api.segmentation import pixels
from frontend_api.settings import Settings


def test_an_upload_answers_with_the_documented_keys(client, photo_jpeg):
    answer = client.post("/api/upload/image", files={"file": ("example.jpg", photo_jpeg, "text/plain")})
    body = answer.json()
    assert answer.status_code == 200
    assert uuid.UUID(body.pop("image_id")).version == 4
    assert body == {"type": "original", "filename": "example.jpg", "size": len(photo_jpeg), "width": 300, "height": 200}


def test_a_rotated_phone_photo_has_the_size_the_browser_shows(client, photo_jpeg):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo_jpeg)).save(buffer, "JPEG", exif=exif)
    body = client.post("/api/upload/image", files={"file": ("phone.jpg", buffer.getvalue())}).json()
    assert (body["width"], body["height"]) == (200, 300)


@pytest.mark.parametrize(("data", "words"), [(b"", "image"), (b"hello", "image"), (b"<svg xmlns='x'/>", "image")])
def test_bytes_that_are_no_image_are_415(client, data, words):
    answer = client.post("/api/upload/image", files={"file": ("photo.jpg", data, "image/jpeg")})
    assert answer.status_code == 415
    assert words in answer.json()["detail"]


def test_a_truncated_image_is_415(client, photo_jpeg):
    answer = client.post("/api/upload/image", files={"file": ("photo.jpg", photo_jpeg[: len(photo_jpeg) // 2])})
    assert answer.status_code == 415


def test_too_many_bytes_are_413_whether_declared_or_streamed(open_client, photo_jpeg):
    client = open_client(max_upload_bytes=1000)
    answer = client.post("/api/upload/image", files={"file": ("photo.jpg", photo_jpeg)})
    assert answer.status_code == 413
    assert "1000" in answer.json()["detail"]
    boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    chunks = (boundary if i == 0 else bytes(10_000) for i in range(50))
    answer = client.post(
        "/api/upload/image", content=chunks, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 413
    assert set(answer.json()) == {"detail"}
    answer = client.post("/api/upload/image", files={"file": ("photo.jpg", bytes(100_000))})
    assert answer.status_code == 413
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("path", ["/api/upload/image", "/api/run"])
def test_a_body_that_finds_no_room_in_the_temporary_folder_is_503_and_not_the_clients_fault(
    open_client, monkeypatch, tmp_path, path
):
    client = open_client(max_points=2**14)  # so that a click's body may be large enough to be put there
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    answer = client.post(path, files={"file": ("photo.jpg", bytes(2 * 2**20))})
    assert answer.status_code == 503
    assert answer.json() == {"detail": "there is no room for the request now; try again shortly"}
    assert answer.headers["retry-after"]


def test_too_many_pixels_are_413(open_client, photo_jpeg):
    answer = open_client(max_image_pixels=59_999).post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)})
    assert answer.status_code == 413
    assert "59999" in answer.json()["detail"].replace(",", "").replace(" ", "").replace("_", "")


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        ({}, "the field file is missing"),
        ({"data": {"image_type": "original"}}, "the field file is missing"),
        ({"data": {"file": "abc"}}, "file must be a file, got text; send the picture as a part with a file name"),
        (
            {"files": {"file": ("a", b"x")}, "data": {"image_type": "photo"}},
            "image_type: Input should be 'original' or 'mask'",
        ),
    ],
)
def test_missing_or_wrong_fields_are_422_in_one_sentence(client, request_, detail):
    answer = client.post("/api/upload/image", **request_)
    assert (answer.status_code, answer.json()) == (422, {"detail": detail})


def test_more_uploads_than_admitted_are_503_at_once(open_client, monkeypatch, photo_jpeg):
    client, decode, told, goes_on = open_client(max_concurrent_uploads=1), pixels.decode_image, Event(), Event()

    def slow(*args, **options):
        told.set()
        goes_on.wait(10)
        return decode(*args, **options)

    monkeypatch.setattr(pixels, "decode_image", slow)
    answers = []
    first = Thread(
        target=lambda: answers.append(client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}))
    )
    first.start()
    assert told.wait(10)
    refused = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)})
    goes_on.set()
    first.join()
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert answers[0].status_code == 200


@pytest.mark.parametrize("name", ["日本.jpg", "a/b\\c.jpg", "\udcff.jpg", "x" * 400])
def test_any_file_name_is_accepted(client, photo_jpeg, name):
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.encode("utf-8", "surrogateescape")
        + b'"\r\n\r\n'
        + photo_jpeg
        + b"\r\n--b--\r\n"
    )
    answer = client.post("/api/upload/image", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 200, answer.text


def test_metadata_tells_when_the_embedding_is_ready(client, upload):
    image_id = upload()
    for _ in range(200):
        body = client.get(f"/api/images/{image_id}").json()
        if body["embedding_ready"]:
            break
        time.sleep(0.01)
    assert body["embedding_ready"] is True
    assert body["filename"] == "photo.jpg"
    assert body["expires_at"] > body["created_at"]


def test_a_deleted_image_is_gone(client, upload):
    image_id = upload()
    assert client.delete(f"/api/images/{image_id}").status_code == 204
    assert client.get(f"/api/images/{image_id}").status_code == 404
    assert client.delete(f"/api/images/{image_id}").status_code == 404
    answer = client.post("/api/run", json={"original_image_id": image_id, "points": [{"x": 1, "y": 1}], "labels": [1]})
    assert answer.status_code == 404


def test_an_expired_image_is_gone(open_client, photo_jpeg):
    client = open_client(image_ttl_seconds=1)
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    time.sleep(1.05)
    assert client.get(f"/api/images/{image_id}").status_code == 404


def test_the_longest_time_to_live_gives_a_date_of_expiry_and_a_longer_one_is_refused(open_client, photo_jpeg):
    client = open_client(image_ttl_seconds=3_000_000_000)
    image_id = client.post("/api/upload/image", files={"file": ("a.jpg", photo_jpeg)}).json()["image_id"]
    assert client.get(f"/api/images/{image_id}").json()["expires_at"] > "2100"
    with pytest.raises(ValidationError, match="less than or equal to 3000000000"):
        Settings(image_ttl_seconds=3_000_000_001)


def test_an_id_that_is_no_uuid_is_422(client):
    assert client.get("/api/images/7").status_code == 422
