"""`imgr serve` where it can't serve, and where it is told to stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import psutil
import pytest

from imgr.triton.ports import free_ports
from tests.unit.imgr.repository.test_versions import publish


@pytest.fixture
def repository(tmp_path):
    """A repository whose models look well from outside, but are not SAM."""
    publish(tmp_path / "models", 1)
    return tmp_path / "models"


def command(repository, *arguments):
    return [sys.executable, "-m", "imgr", "serve", f"--model-repository={repository}", *arguments]


def environment(tmp_path, **settings):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMGR_")}
    return inherited | {"IMGR_STORE": "memory:///"} | settings


def refused(tmp_path, repository, *arguments, **settings):
    """Run a serve that must fail; return what it said."""
    run = subprocess.run(
        command(repository, *arguments),
        env=environment(tmp_path, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    return run.stderr.splitlines()[-1]


@contextmanager
def serving(tmp_path, repository, *arguments, **settings):
    with subprocess.Popen(command(repository, *arguments), env=environment(tmp_path, **settings)) as process:
        yield process
        process.kill()


def answers(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("nothing listens")


@pytest.mark.parametrize("option", ["--port", "--triton-http-port", "--triton-metrics-port"])
def test_a_port_in_use_is_told_with_the_option_that_chooses_another(tmp_path, repository, option):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = str(server.getsockname()[1])
        said = refused(tmp_path, repository, "--port=0", f"{option}={taken}")
    assert said.startswith(f"imgr: port {taken} on 127.0.0.1, meant for ")
    assert said.endswith(f"is not free (Address already in use); choose another with {option}")


@pytest.mark.triton
def test_a_repository_without_models_is_told_how_to_fill_it(tmp_path, repository):
    (repository / "sam_encoder" / "1" / "model.onnx").unlink()
    assert "holds no model that can be served; give a checkpoint" in refused(tmp_path, repository, "--port=0")


def test_models_that_never_answer_clicks_end_it_with_the_reason(tmp_path, repository):
    said = refused(tmp_path, repository, "--port=0", "--ready-timeout=4")
    assert "after 4 seconds no click can be answered yet" in said
    assert "no model can serve clicks" in said


def test_a_python_without_what_triton_embeds_is_told(tmp_path, repository):
    script = (
        "import sys; from imgr.triton import installation; installation.shared_libpython = lambda: None; "
        f"sys.argv = ['imgr', 'serve', '--port=0', '--model-repository={repository}']; "
        "from imgr.cli import app; app()"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith(f"imgr: this Python ({sys.executable}) has no shared libpython")
    assert run.stderr.count("\n") == 1


def test_a_store_that_cannot_be_used_ends_it_with_the_reason(tmp_path, repository):
    said = refused(tmp_path, repository, "--port=0", IMGR_TRITON_URL="127.0.0.1:9", IMGR_STORE="file:///proc/no/store")
    assert said.startswith("imgr: the REST API could not start")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_with_an_external_triton_none_is_started_and_a_signal_ends_it(tmp_path, repository, how):
    (port,) = free_ports(1)
    with serving(tmp_path, repository, f"--port={port}", IMGR_TRITON_URL="127.0.0.1:9") as process:
        answer = answers(port)
        assert (answer.status_code, answer.json()["triton"]) == (503, "unreachable")
        assert psutil.Process(process.pid).children() == []
        process.send_signal(how)
        assert process.wait(30) == 0


@pytest.mark.triton
def test_a_signal_while_it_still_starts_leaves_nothing(tmp_path, repository):
    (port,) = free_ports(1)
    with serving(tmp_path, repository, f"--port={port}") as process:
        while not (family := psutil.Process(process.pid).children()):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        assert process.wait(30) == 0
        assert not any(child.is_running() for child in family)
