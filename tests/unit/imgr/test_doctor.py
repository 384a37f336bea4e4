import socket
import sys

import pytest

from imgr import doctor
from imgr.doctor import State, examine, glibc
from imgr.errors import CannotServe
from imgr.triton import installation
from imgr.triton.ports import free_ports
from tests.unit.imgr.test_repository import publish

WHEEL = "Wheel-Version: 1.0\nTag: py3-none-manylinux_2_35_x86_64\n"


@pytest.fixture
def repository(tmp_path):
    publish(tmp_path / "models", 1)
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def no_external_triton(monkeypatch):
    monkeypatch.delenv("IMGR_TRITON_URL", raising=False)


def findings(repository, state):
    return [check.finding for check in examine(repository, free_ports(1)[0]) if check.state is state]


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


def test_little_space_is_a_doubt_and_no_failure(repository, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 64 * 2**20}))
    doubts = findings(repository, State.DOUBTFUL)
    assert [each for each in doubts if "67 MB free in /dev/shm" in each and "--shm-size" in each]
    assert [each for each in doubts if "uploads and embeddings" in each]
    assert findings(repository, State.FAILED) == []


def test_a_port_in_use_is_a_doubt_because_another_can_be_chosen(repository):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (doubt,) = [check for check in examine(repository, port) if check.state is State.DOUBTFUL]
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


def test_an_external_triton_makes_the_embedded_one_unnecessary(repository, monkeypatch):
    def fail():
        raise CannotServe("this is not looked at")

    monkeypatch.setattr(doctor, "require_parts", fail)
    monkeypatch.setenv("IMGR_TRITON_URL", "triton:8000")
    assert findings(repository, State.FAILED) == []
