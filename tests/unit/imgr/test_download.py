import hashlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imgr.download import CHECKPOINTS, Checkpoint, download, fetch
from imgr.errors import DownloadFailed

README = Path(__file__).parents[3] / "models" / "README.md"
CONTENT = bytes(range(256)) * 20_000
HASH = hashlib.sha256(CONTENT).hexdigest()


class Mirror:
    """A server of one file that misbehaves as told; it notes the ranges it was asked for."""

    def __init__(self):
        self.ranges = []
        self.honours_ranges = True
        self.skips = 0
        self.cut_after = None
        self.status = None


@contextmanager
def serving(mirror):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            mirror.ranges.append(wanted)
            if mirror.status is not None:
                self.send_error(mirror.status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mirror.honours_ranges else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start + mirror.skips}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if mirror.cut_after is not None:
                body, mirror.cut_after = body[: mirror.cut_after], None
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """A client that went away is none of ours."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/weights.pth"
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror():
    return Mirror()


@pytest.fixture
def checkpoint(mirror):
    with serving(mirror) as url:
        yield Checkpoint(url, HASH)


def ignore(done, total):
    pass


def test_a_checkpoint_arrives_whole_and_progress_reaches_its_size(checkpoint, tmp_path):
    told = []
    path = fetch(checkpoint, tmp_path / "models", lambda done, total: told.append((done, total)))
    assert path == tmp_path / "models" / "weights.pth"
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [each.name for each in path.parent.iterdir()] == ["weights.pth"]


def test_a_cut_download_goes_on_where_it_was_cut(checkpoint, mirror, tmp_path):
    mirror.cut_after = 3_000_000
    with pytest.raises(DownloadFailed, match="run the command again to go on"):
        fetch(checkpoint, tmp_path, ignore)
    assert not (tmp_path / "weights.pth").exists()
    assert fetch(checkpoint, tmp_path, ignore).read_bytes() == CONTENT
    assert mirror.ranges == [None, "bytes=3000000-"]


def test_a_server_that_ignores_ranges_sends_everything_again(checkpoint, mirror, tmp_path):
    mirror.cut_after = 3_000_000
    mirror.honours_ranges = False
    with pytest.raises(DownloadFailed):
        fetch(checkpoint, tmp_path, ignore)
    assert fetch(checkpoint, tmp_path, ignore).read_bytes() == CONTENT


def test_a_server_that_goes_on_elsewhere_than_asked_spoils_no_part(checkpoint, mirror, tmp_path):
    mirror.cut_after = 3_000_000
    mirror.skips = 5
    with pytest.raises(DownloadFailed):
        fetch(checkpoint, tmp_path, ignore)
    with pytest.raises(DownloadFailed, match=r"another part of the file .* remove .*weights\.pth\.part"):
        fetch(checkpoint, tmp_path, ignore)
    assert (tmp_path / "weights.pth.part").read_bytes() == CONTENT[:3_000_000]


def test_a_part_that_was_complete_already_needs_no_further_byte(checkpoint, mirror, tmp_path):
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    assert fetch(checkpoint, tmp_path, ignore).read_bytes() == CONTENT
    assert mirror.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_wrong_hash_is_refused_and_the_file_kept_aside(checkpoint, tmp_path):
    other = Checkpoint(checkpoint.url, "0" * 64)
    with pytest.raises(DownloadFailed, match=f"has SHA-256 {HASH} instead of {'0' * 64}"):
        fetch(other, tmp_path, ignore)
    assert [each.name for each in tmp_path.iterdir()] == ["weights.pth.corrupt"]
    assert fetch(checkpoint, tmp_path, ignore).read_bytes() == CONTENT


def test_a_wrong_file_at_the_target_is_not_taken_for_the_checkpoint(checkpoint, mirror, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"something else")
    with pytest.raises(DownloadFailed, match="set aside"):
        fetch(checkpoint, tmp_path, ignore)
    assert mirror.ranges == []
    assert not (tmp_path / "weights.pth").exists()


def test_a_checkpoint_that_is_there_is_not_fetched_again(checkpoint, mirror, tmp_path):
    fetch(checkpoint, tmp_path, ignore)
    fetch(checkpoint, tmp_path, ignore)
    assert len(mirror.ranges) == 1


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_names_the_url_and_where_the_file_belongs(checkpoint, mirror, tmp_path, status):
    mirror.status = status
    with pytest.raises(DownloadFailed) as refusal:
        fetch(checkpoint, tmp_path, ignore)
    message = str(refusal.value)
    assert checkpoint.url in message
    assert f"the server answered {status} " in message
    assert str(tmp_path / "weights.pth") in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_refuses_names_the_url_and_where_the_file_belongs(tmp_path):
    with pytest.raises(DownloadFailed, match=r"http://127\.0\.0\.1:9/weights\.pth could not be fetched"):
        fetch(Checkpoint("http://127.0.0.1:9/weights.pth", HASH), tmp_path, ignore)


def test_a_full_disk_is_noticed_before_anything_is_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadFailed, match=f"{len(CONTENT)} bytes are still to come but only 1000 are free"):
        fetch(checkpoint, tmp_path, ignore)
    assert list(tmp_path.iterdir()) == []


def test_proxies_of_the_environment_are_used(checkpoint, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", checkpoint.url.removesuffix("/weights.pth"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch(Checkpoint("http://weights.invalid/weights.pth", HASH), tmp_path, ignore).read_bytes() == CONTENT
    assert mirror.ranges == [None]


def test_a_proxy_that_cannot_be_used_is_told(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "ftp://proxy")
    with pytest.raises(DownloadFailed, match="the proxy that the environment names can't be used: Unknown scheme"):
        fetch(checkpoint, tmp_path, ignore)


def test_a_socks_proxy_is_used(tmp_path, monkeypatch):
    def serve_one(listener):
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1000) == b"\x05\x01\x00"  # version 5, one method: no authentication
            connection.sendall(b"\x05\x00")
            assert b"weights.invalid" in connection.recv(1000)
            connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
            assert connection.recv(10_000).startswith(b"GET /weights.pth ")
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT)

    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("all_proxy", f"socks5://127.0.0.1:{listener.getsockname()[1]}")
        with ThreadPoolExecutor(1) as threads:
            served = threads.submit(serve_one, listener)
            path = fetch(Checkpoint("http://weights.invalid/weights.pth", HASH), tmp_path, ignore)
            served.result()
    assert path.read_bytes() == CONTENT


def test_what_lies_in_the_way_is_named(checkpoint, tmp_path):
    (tmp_path / "weights.pth").mkdir()
    with pytest.raises(DownloadFailed, match=r"weights\.pth can't be used: Is a directory"):
        fetch(checkpoint, tmp_path, ignore)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_meanwhile_is_told(checkpoint, tmp_path):
    (tmp_path / "weights.pth.part").symlink_to("/dev/full")
    with pytest.raises(DownloadFailed, match=r"weights\.pth\.part can't be used: No space left on device"):
        fetch(checkpoint, tmp_path, ignore)


def test_an_unknown_variant_is_told_the_known_ones(tmp_path):
    with pytest.raises(DownloadFailed, match="no variant 'vit_x'; choose one of vit_h, vit_l, vit_b, vit_t"):
        download("vit_x", tmp_path, ignore)


def test_every_variant_has_a_url_and_a_whole_hash():
    assert set(CHECKPOINTS) == {"vit_h", "vit_l", "vit_b", "vit_t"}
    for checkpoint in CHECKPOINTS.values():
        assert checkpoint.url.startswith("https://")
        assert len(bytes.fromhex(checkpoint.sha256)) == 32


@pytest.mark.parametrize("variant", CHECKPOINTS)
def test_the_pinned_checkpoints_are_those_that_the_documentation_lists(variant):
    (row,) = [line for line in README.read_text().splitlines() if line.startswith(f"| `{variant}` |")]
    checkpoint = CHECKPOINTS[variant]
    assert f"[{checkpoint.filename}]({checkpoint.url})" in row
    assert f"`{checkpoint.sha256}`" in row
