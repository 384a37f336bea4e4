"""ImageStore: whole uploads or none, expiry, deletion, a store that fails."""

import asyncio
import shutil
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import pytest

from frontend_api.errors import ImageNotFound, StoreUnavailable
from frontend_api.storage.image_store import ImageRecord, ImageStore, ImageType
from frontend_api.storage.object_store import MARKER, open_store
from tests.support.object_store import ObjectStore

HOUR = timedelta(hours=1)


def record(**changes):
    fields = {
        "image_id": uuid4(), "type": ImageType.ORIGINAL, "filename": "a.jpg", "size": 3,
        "width": 2, "height": 1, "created_at": datetime.now(UTC),
    }  # fmt: skip
    return ImageRecord(**fields | changes)


@pytest.fixture(scope="session")
def bucket(tmp_path_factory):
    store = ObjectStore(tmp_path_factory.mktemp("bucket") / "log")
    yield store.wait_until_ready()
    store.stop()


@pytest.fixture(params=["memory", "files", "bucket"])
def backend(request, tmp_path, monkeypatch):
    match request.param:
        case "memory":
            return open_store("memory:///")
        case "files":
            return open_store(tmp_path.as_uri())
        case _:
            bucket = request.getfixturevalue("bucket")
            for name, value in bucket.credentials.items():
                monkeypatch.setenv(name, value)
            return open_store(f"{bucket.bucket}/{uuid4()}")


async def test_what_was_added_comes_back(backend):
    images, added = ImageStore(backend, HOUR), record()
    await images.add(added, b"abc")
    await images.add_embedding(added.image_id, "vit_b/fp32/ab", b"1234")
    assert await images.record(added.image_id) == added
    assert await images.original(added.image_id) == b"abc"
    assert await images.embedding(added.image_id, "vit_b/fp32/ab") == b"1234"
    assert await images.embedding(added.image_id, "vit_b/fp16/ab") is None


async def test_deletion_leaves_nothing(backend):
    images, added = ImageStore(backend, HOUR), record()
    await images.add(added, b"abc")
    await images.add_embedding(added.image_id, "x", b"1234")
    await images.delete(added.image_id)
    with pytest.raises(ImageNotFound, match=str(added.image_id)):
        await images.record(added.image_id)
    assert backend.list("images/").collect() == []


async def test_a_deletion_that_fails_midway_can_be_repeated(backend, monkeypatch):
    images, added = ImageStore(backend, HOUR), record()
    await images.add(added, b"abc")
    await images.add_embedding(added.image_id, "x", b"1234")
    delete, fail = images._delete, StoreUnavailable("away")

    async def once(paths):
        monkeypatch.setattr(images, "_delete", delete)
        raise fail

    monkeypatch.setattr(images, "_delete", once)
    with pytest.raises(StoreUnavailable):
        await images.delete(added.image_id)
    await images.delete(added.image_id)
    assert backend.list("images/").collect() == []


async def test_an_embedding_saved_while_its_image_is_being_deleted_does_not_stay(backend, monkeypatch):
    images, added = ImageStore(backend, HOUR), record()
    await images.add(added, b"abc")
    delete = images._delete

    async def meanwhile(paths):
        monkeypatch.setattr(images, "_delete", delete)
        await images.add_embedding(added.image_id, "x", b"1234")
        await delete(paths)

    monkeypatch.setattr(images, "_delete", meanwhile)
    await images.delete(added.image_id)
    assert backend.list("images/").collect() == []


async def test_an_embedding_of_a_deleted_image_is_refused_and_does_not_stay(backend, monkeypatch):
    images, added = ImageStore(backend, HOUR), record()
    with pytest.raises(ImageNotFound):
        await images.add_embedding(added.image_id, "x", b"1234")
    await images.add(added, b"abc")
    known = images.record

    async def deleted_afterwards(image_id):
        monkeypatch.setattr(images, "record", known)
        found = await known(image_id)
        await images.delete(image_id)
        return found

    monkeypatch.setattr(images, "record", deleted_afterwards)
    with pytest.raises(ImageNotFound):
        await images.add_embedding(added.image_id, "x", b"1234")
    assert backend.list("images/").collect() == []


async def test_no_folder_stays_of_what_was_deleted(tmp_path):
    images, added = ImageStore(open_store(tmp_path.as_uri()), HOUR), record()
    await images.add(added, b"abc")
    await images.add_embedding(added.image_id, "x", b"1234")
    await images.delete(added.image_id)
    assert [path.name for path in tmp_path.glob("**/*")] == [MARKER]


async def test_of_the_replicas_that_share_a_store_one_sweeps_in_each_period(backend):
    replicas = [ImageStore(backend, HOUR) for _ in range(3)]
    for period in (7, 8):
        begun = await asyncio.gather(*(replica.begin_sweep(period) for replica in replicas))
        assert sorted(begun) == [False, False, True]
    assert [entry["path"] for entry in backend.list("sweeps/").collect()] == ["sweeps/8"]


async def test_an_upload_cut_off_before_its_record_does_not_exist(backend):
    images, image_id = ImageStore(backend, HOUR), uuid4()
    await backend.put_async(f"images/{image_id}/original", b"abc")
    with pytest.raises(ImageNotFound):
        await images.record(image_id)


async def test_a_damaged_record_is_an_unknown_image(backend):
    images, image_id = ImageStore(backend, HOUR), uuid4()
    await backend.put_async(f"images/{image_id}/record.json", b'{"image_id": ')
    with pytest.raises(ImageNotFound):
        await images.record(image_id)


async def test_an_expired_upload_is_not_found_and_the_sweep_removes_all_of_it(backend):
    images = ImageStore(backend, timedelta(seconds=2))  # a bucket's clock counts whole seconds
    old = record()
    await images.add(old, b"abc")
    await asyncio.sleep(2.1)
    young = record()
    await images.add(young, b"abc")
    await backend.put_async(f"images/{old.image_id}/embeddings/x.f32", b"1234")  # younger than its upload
    with pytest.raises(ImageNotFound):
        await images.record(old.image_id)
    assert await images.expire() == 1
    assert {entry["path"].split("/")[1] for entry in backend.list("images/").collect()} == {str(young.image_id)}


async def test_a_failing_store_is_unavailable_and_tells_no_path(tmp_path):
    folder = tmp_path / "secret"
    images = ImageStore(open_store(folder.as_uri()), HOUR)
    shutil.rmtree(folder)
    folder.write_text("not a folder")
    with pytest.raises(StoreUnavailable) as caught:
        await images.add(record(), b"abc")
    assert "secret" not in str(caught.value)


async def test_a_bucket_that_does_not_answer_is_unavailable_and_tells_no_address(monkeypatch):
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "k",
                        "AWS_SECRET_ACCESS_KEY": "s"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    images = ImageStore(open_store("s3://imgr/uploads"), HOUR)
    with pytest.raises(StoreUnavailable) as caught:
        await images.record(uuid4())
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize("mount_point_stays", [False, True])
async def test_a_folder_that_drops_out_is_unavailable_and_comes_back_whole(tmp_path, mount_point_stays):
    folder, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    images, added = ImageStore(open_store(folder.as_uri()), HOUR), record()
    await images.add(added, b"abc")
    folder.rename(elsewhere)
    if mount_point_stays:
        folder.mkdir()
    for attempt in (
        images.record(added.image_id),
        images.original(added.image_id),
        images.add(record(), b"lost"),
        images.add_embedding(added.image_id, "x", b"1234"),
        images.delete(added.image_id),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert not list(tmp_path.glob("store/*"))
    if mount_point_stays:
        folder.rmdir()
    elsewhere.rename(folder)
    assert await images.record(added.image_id) == added


async def test_an_upload_whose_store_drops_out_meanwhile_is_not_said_to_be_stored(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    images = ImageStore(open_store(folder.as_uri()), HOUR)
    added = record()
    dumped = type(added).model_dump_json

    def meanwhile(self):
        folder.rename(tmp_path / "elsewhere")
        return dumped(self)

    monkeypatch.setattr(type(added), "model_dump_json", meanwhile)
    with pytest.raises(StoreUnavailable):
        await images.add(added, b"abc")


async def test_a_bucket_that_is_gone_is_unavailable(bucket, monkeypatch):
    for name, value in bucket.credentials.items():
        monkeypatch.setenv(name, value)
    images = ImageStore(open_store("s3://gone/uploads"), HOUR)
    with pytest.raises(StoreUnavailable):
        await images.record(uuid4())
    with pytest.raises(StoreUnavailable):
        await images.add(record(), b"abc")


@contextmanager
def answering(status):
    """A server that answers every request with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_PUT(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [403, 500, 503])
async def test_a_bucket_that_refuses_or_fails_is_unavailable(bucket, monkeypatch, status):
    for name, value in bucket.credentials.items():
        monkeypatch.setenv(name, value)
    with answering(status) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        images = ImageStore(open_store("s3://imgr/uploads"), HOUR)
        with pytest.raises(StoreUnavailable):
            await images.record(uuid4())
        with pytest.raises(StoreUnavailable):
            await images.add(record(), b"abc")
