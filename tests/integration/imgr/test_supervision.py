"""What becomes of tritonserver and its processes, however things end."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from imgr.triton.ports import free_ports
from tests.support.tiny_models import write_version
from tests.support.triton import Triton

pytestmark = pytest.mark.triton


@pytest.fixture
def triton(tmp_path):
    """A tritonserver that a test may harm."""
    write_version(tmp_path / "models", "tiny", 1)
    triton = Triton(tmp_path / "models", tmp_path / "log")
    yield triton.wait_until_ready("tiny")
    triton.stop()


def processes(triton):
    """Return (tritonserver, the process of its model)."""
    (server,) = psutil.Process(triton.supervisor.pid).children()
    (stub,) = server.children()
    return server, stub


def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def doubles(triton):
    try:
        answer = triton.infer("tiny", [[1, 2, 3, 4]], outputs=["doubled"])
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [2, 4, 6, 8]


def test_a_killed_tritonserver_comes_back_on_the_same_ports_and_its_model_process_ends(triton):
    server, stub = processes(triton)
    server.kill()
    until(lambda: not stub.is_running())
    triton.wait_until_ready("tiny")
    assert doubles(triton)
    assert "was ended by SIGKILL; restarting" in triton.text()


def test_a_killed_process_of_a_model_is_replaced(triton):
    _, stub = processes(triton)
    stub.kill()
    until(lambda: doubles(triton))


def test_a_killed_supervisor_takes_everything_with_it(triton):
    family = processes(triton)
    triton.supervisor.kill()
    triton.supervisor.wait()
    until(lambda: not any(process.is_running() for process in family))


@pytest.mark.parametrize("seconds", [0, 0.1, 0.2, 0.3, 0.4])
def test_a_supervisor_killed_while_a_model_loads_takes_everything_with_it(tmp_path, seconds):
    write_version(tmp_path / "models", "tiny", 1)
    triton = Triton(tmp_path / "models", tmp_path / "log")
    supervisor = psutil.Process(triton.supervisor.pid)
    until(lambda: len(supervisor.children(recursive=True)) == 2)
    time.sleep(seconds)
    family = supervisor.children(recursive=True)
    triton.supervisor.kill()
    triton.stop()
    until(lambda: not any(process.is_running() for process in family))


def test_a_graceful_stop_leaves_no_process_and_no_shared_memory(triton):
    family = processes(triton)
    (prefix,) = {
        argument.partition("shm-region-prefix-name=")[2]
        for argument in family[0].cmdline()
        if "shm-region-prefix-name=" in argument
    }
    assert list(Path("/dev/shm").glob(f"{prefix}*"))
    assert triton.stop() == 0
    assert not any(process.is_running() for process in family)
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))


def test_nothing_listens_beyond_the_loopback_interface(triton):
    server, stub = processes(triton)
    listening = [
        connection.laddr
        for process in (server, stub)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 2
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_a_version_added_and_removed_needs_no_restart(triton, tmp_path):
    write_version(tmp_path / "staging", "tiny", 2, factor=3.0)
    (tmp_path / "staging" / "tiny" / "2").rename(tmp_path / "models" / "tiny" / "2")
    until(lambda: triton.index().get(("tiny", "2"), ("",))[0] == "READY")
    answer = triton.infer("tiny", [[1, 2, 3, 4]], outputs=["doubled"]).json()
    assert (answer["model_version"], answer["outputs"][0]["data"]) == ("2", [3, 6, 9, 12])
    assert triton.http.get("/v2/models/tiny/versions/1/ready").status_code == 200


def test_a_broken_version_is_refused_in_words_while_the_old_one_serves_on(triton, tmp_path):
    folder = tmp_path / "models" / "tiny" / "2"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"garbage")
    until(lambda: triton.index().get(("tiny", "2"), ("",))[0] == "UNAVAILABLE")
    until(lambda: triton.index()["tiny", "2"][1] != "")
    reason = triton.index()["tiny", "2"][1]
    assert "ONNX Runtime can't load its model.onnx" in reason
    assert str(tmp_path) not in reason
    assert doubles(triton)
    assert "failed to load 'tiny' version 2" in triton.text()


def test_it_serves_whatever_python_the_path_names_first(tmp_path):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for file in ("bin/python3", f"lib/{version}/os.py", f"lib/{version}/lib-dynload/none"):  # where Python looks
        path = tmp_path / "other" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
    write_version(tmp_path / "models", "tiny", 1)
    path = f"{tmp_path}/other/bin:{os.environ['PATH']}"
    triton = Triton(tmp_path / "models", tmp_path / "log", PATH=path)
    try:
        assert doubles(triton.wait_until_ready("tiny"))
    finally:
        triton.stop()


@pytest.mark.parametrize(("taken", "service"), [(0, "HTTP"), (1, "Metrics")])
def test_a_port_that_is_taken_meanwhile_ends_it_with_the_reason(tmp_path, taken, service):
    write_version(tmp_path / "models", "tiny", 1)
    ports = http, metrics = free_ports(2)
    with socket.create_server(("127.0.0.1", ports[taken])):
        run = subprocess.run(
            [sys.executable, "-m", "tests.support.triton", str(tmp_path / "models"), str(http), str(metrics), "poll"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert run.returncode == 1
    assert f"before it could serve; it said: failed to start {service} service" in run.stderr
    assert f"'127.0.0.1:{ports[taken]}' already in use" in run.stderr
