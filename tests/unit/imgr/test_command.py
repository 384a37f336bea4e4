from pathlib import Path

import pytest

from imgr.triton.command import TritonPorts, tritonserver_command
from imgr.triton.installation import Installation

PACKAGED = Installation(Path("/x/bin/tritonserver"), Path("/tmp/w/backends"), {})
IN_CONTAINER = Installation(Path("/opt/tritonserver/bin/tritonserver"), None, {})


def command(installation=PACKAGED, repository=Path("/models"), gpu=False):
    return tritonserver_command(installation, repository, TritonPorts(8001, 8002), shared_memory="imgr-x", gpu=gpu)


def test_every_listener_is_bound_to_the_loopback_interface():
    options = command()
    assert {"--http-address=127.0.0.1", "--metrics-address=127.0.0.1", "--allow-grpc=false"} <= set(options)
    assert {"--http-port=8001", "--metrics-port=8002"} <= set(options)


def test_the_repository_is_polled_and_a_broken_model_does_not_end_the_server():
    options = command()
    assert {"--model-control-mode=poll", "--repository-poll-secs=1", "--exit-on-error=false"} <= set(options)


def test_a_repository_with_spaces_stays_one_argument_and_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert f"--model-repository={tmp_path}/my models" in command(repository=Path("my models"))


def test_our_backend_is_used_with_the_packaged_server_only():
    assert "--backend-directory=/tmp/w/backends" in command()
    assert not any(option.startswith("--backend") for option in command(IN_CONTAINER))


@pytest.mark.parametrize("gpu", [False, True])
def test_pinned_memory_is_left_out_where_there_is_no_gpu(gpu):
    assert ("--pinned-memory-pool-byte-size=0" in command(gpu=gpu)) is not gpu
