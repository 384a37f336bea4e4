import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from imgr import doctor
from imgr.configuration import read_settings
from imgr.doctor import State, examine, glibc
from imgr.errors import CannotServe
from imgr.triton import installation
from imgr.triton.ports import free_ports
from tests.unit.imgr.repository.test_versions import publish

WHEEL = "Wheel-Version: 1.0\nTag: py3-none-manylinux_2_35_x86_64\n"


@pytest.fixture
def repository(tmp_path):
    publish(tmp_path / "models", 1)
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in ("IMGR_TRITON_URL", "SAM_CHECKPOINT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IMGR_STORE", (tmp_path / "store").as_uri())


def checks(repository, port=None):
    return examine(read_settings(model_repository=repository), port or free_ports(1)[0])


def findings(repository, state):
    return [check.finding for check in checks(repository) if check.state is state]


def test_a_machine_that_can_serve_fails_no_check(repository):
    assert findings(repository, State.FAILED) == []
    assert "newest model: version 1, vit_b/fp32/0123456789abcdef" in findings(repository, State.WELL)


@pytest.mark.parametrize(
    ("library", "version", "state"),
    [
        ("glibc", "2.35", State.WELL),
        ("glibc", "3.0", State.WELL),
        ("glibc", "2.31", State.FAILED),
        ("glibc", "2.9", State.FAILED),
        ("", "", State.FAILED),
    ],
)
def test_glibc_must_be_as_new_as_the_wheel_needs(library, version, state):
    check = glibc(library, version, WHEEL)
    assert check.state is state
    assert "2.35" in check.finding


def test_a_python_without_a_shared_libpython_is_told_what_to_install(repository, monkeypatch):
    monkeypatch.setattr(installation, "shared_libpython", lambda: None)
    (finding,) = findings(repository, State.FAILED)
    assert sys.executable in finding
    assert "uv python install" in finding


def test_a_python_that_triton_does_not_know_is_told_which_it_knows(repository, monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "python_stub", lambda _: tmp_path / "none")
    (finding,) = findings(repository, State.FAILED)
    assert "use Python 3.11 or 3.12" in finding


def test_a_numpy_that_triton_does_not_know_is_told_with_the_command_that_brings_another(repository, monkeypatch):
    found = installation.version
    monkeypatch.setattr(installation, "version", lambda name: "2.3.1" if name == "numpy" else found(name))
    (finding,) = findings(repository, State.FAILED)
    assert finding.startswith("numpy 2.3.1 is installed, but Triton's Python backend knows numpy 1 only; run `pip")


@pytest.mark.parametrize(("package", "module"), [("nvidia-pytriton", "pytriton"), ("onnxruntime", "onnxruntime")])
def test_a_missing_package_is_told_with_the_command_that_brings_it(repository, monkeypatch, package, module):
    find = installation.find_spec
    monkeypatch.setattr(installation, "find_spec", lambda name: None if name == module else find(name))
    (finding,) = findings(repository, State.FAILED)
    assert package in finding
    assert "`uv sync`" in finding


def test_a_tritonserver_that_does_not_start_is_told_in_its_own_words(repository, monkeypatch, tmp_path):
    broken = tmp_path / "tritonserver"
    broken.write_text("#!/bin/sh\necho error while loading shared libraries: libx.so >&2\necho more\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setattr(doctor, "packaged_executable", lambda _: broken)
    assert findings(repository, State.FAILED) == [
        "tritonserver does not start (status 127): error while loading shared libraries: libx.so"
    ]


def test_a_tritonserver_that_hangs_is_told(repository, monkeypatch, tmp_path):
    hanging = tmp_path / "tritonserver"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(doctor, "packaged_executable", lambda _: hanging)
    monkeypatch.setattr(doctor, "_START_SECONDS", 0.2)
    assert findings(repository, State.FAILED) == ["tritonserver does not start within 0.2 seconds"]


def test_little_space_is_a_doubt_and_no_failure(repository, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 64 * 2**20}))
    doubts = findings(repository, State.DOUBTFUL)
    assert [each for each in doubts if "67 MB free in /dev/shm" in each and "--shm-size" in each]
    assert [each for each in doubts if "uploads and embeddings" in each]
    assert findings(repository, State.FAILED) == []


def test_a_port_in_use_is_a_doubt_because_another_can_be_chosen(repository):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (doubt,) = [check for check in checks(repository, port) if check.state is State.DOUBTFUL]
    assert f"port {port} on 127.0.0.1" in doubt.finding


def test_an_empty_repository_is_told_how_to_fill_it(repository):
    for model in ("sam_encoder", "sam_decoder"):
        (repository / model / "1" / "model.onnx").unlink()
    (finding,) = findings(repository, State.FAILED)
    assert "imgr export --checkpoint" in finding


def test_a_broken_newest_version_is_a_doubt(repository):
    publish(repository, 2, models=["sam_encoder"])
    (doubt,) = findings(repository, State.DOUBTFUL)
    assert doubt.startswith("version 2 is broken (sam_decoder has no readable model.onnx)")


@pytest.fixture
def external_tritons(monkeypatch):
    """What two external Tritons serve, by address; there is no embedded one."""

    def fail():
        raise CannotServe("this is not looked at")

    monkeypatch.setattr(doctor, "require_parts", fail)
    monkeypatch.setenv("IMGR_TRITON_URL", "127.0.0.1:1,127.0.0.1:2")
    served = {"127.0.0.1:1": 3, "127.0.0.1:2": 3}
    monkeypatch.setattr(doctor, "served_version", lambda urls: served[urls[0]])
    return served


def test_external_tritons_are_asked_and_make_the_embedded_one_unnecessary(repository, external_tritons):
    assert findings(repository, State.FAILED) == []
    told = findings(repository, State.WELL)
    assert [f"Triton at {url} serves version 3" for url in external_tritons] == told[:2]


def test_external_tritons_have_models_of_their_own(tmp_path, external_tritons, monkeypatch):
    monkeypatch.setenv("SAM_CHECKPOINT_PATH", str(tmp_path / "none.pth"))
    assert findings(tmp_path / "nowhere", State.FAILED) == []


def test_one_external_triton_that_serves_is_enough_and_none_is_a_failure(repository, external_tritons):
    finding = "Triton at 127.0.0.1:2 serves no version of both models; its log says why"
    external_tritons["127.0.0.1:2"] = None
    assert findings(repository, State.DOUBTFUL) == [finding]
    assert findings(repository, State.FAILED) == []
    external_tritons["127.0.0.1:1"] = None
    assert findings(repository, State.FAILED) == [finding.replace(":2", ":1"), finding]


def test_an_external_triton_that_does_not_answer_is_a_failure(repository, monkeypatch):
    monkeypatch.setenv("IMGR_TRITON_URL", f"127.0.0.1:{free_ports(1)[0]}")
    (finding,) = findings(repository, State.FAILED)
    assert "does not answer" in finding


def test_the_disk_of_the_store_is_looked_at_and_the_store_not_made(repository, tmp_path):
    assert [each for each in findings(repository, State.WELL) if f"MB free in {tmp_path} for uploads" in each]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("store", ["file:///dev/null/store", "az://container/without/account"])
def test_a_store_that_cannot_be_used_is_a_failure(repository, monkeypatch, store):
    monkeypatch.setenv("IMGR_STORE", store)
    (finding,) = findings(repository, State.FAILED)
    assert store in finding


def test_a_checkpoint_that_is_named_must_be_there(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("SAM_CHECKPOINT_PATH", str(tmp_path / "sam.pth"))
    (finding,) = findings(repository, State.FAILED)
    assert str(tmp_path / "sam.pth") in finding
    (tmp_path / "sam.pth").touch()
    assert findings(repository, State.FAILED) == []


@pytest.mark.parametrize("answer", ["<html>", '{"a": 1}', "null"])
def test_what_is_no_triton_is_told_as_such(repository, monkeypatch, answer):
    class Stranger(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("IMGR_TRITON_URL", address)
        assert findings(repository, State.FAILED) == [
            f"what answers at {address}, which IMGR_TRITON_URL names, is no Triton"
        ]
        server.shutdown()
