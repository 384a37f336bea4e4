"""The compose file starts what the embedded Triton is started with, and the adapter as its image does."""

import json
import re
from pathlib import Path

import httpx
import pytest
import yaml

from imgr.triton.command import TritonPorts, tritonserver_command
from imgr.triton.installation import Installation
from tests.support.service import Process, free_port

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def flags(command):
    return {argument for argument in command if argument.startswith("--")}


def test_triton_gets_the_flags_of_the_embedded_one_but_for_where_things_are():
    installation = Installation(Path("tritonserver"), None, {})
    embedded = tritonserver_command(installation, Path("/models"), TritonPorts(1, 2), shared_memory="x", gpu=True)
    of_this_host = re.compile("--(http|metrics)-(address|port)=|--exit-timeout")
    expected = {flag for flag in flags(embedded) if not of_this_host.match(flag)}
    assert flags(COMPOSE["services"]["triton"]["command"]) == expected


def test_images_are_pinned_and_ports_bound_to_loopback_unless_told_otherwise():
    for service in COMPOSE["services"].values():
        assert "build" in service or re.search(r":v?\d+\.\d+", service["image"])
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${IMGR_BIND:-127.0.0.1}:"))
    for image in re.findall(r"^FROM (\S+)|--from=(\S+\.\S+)", DOCKERFILE, re.MULTILINE):
        assert re.search(r":\d+\.\d+", "".join(image))


def test_the_image_runs_as_somebody_else_than_root_with_a_read_only_root():
    assert re.search(r"^USER (?!root|0)\w+$", DOCKERFILE, re.MULTILINE)
    assert COMPOSE["services"]["api"]["read_only"] is True


def test_the_image_installs_neither_torch_nor_tritonserver():
    sync = re.findall(r"^RUN (uv sync .*)$", DOCKERFILE, re.MULTILINE)
    assert len(sync) == 2
    for command in sync:
        assert "--extra" not in command
        assert "--no-install-package nvidia-pytriton" in command
        assert "--no-group runtime-cpu" in command


@pytest.mark.triton
def test_the_adapter_starts_with_the_images_command_and_environment(tmp_path):
    command = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    assert command[0] == "uvicorn"
    port = free_port()
    arguments = [{"0.0.0.0": "127.0.0.1", "8000": str(port)}.get(part, part) for part in command]
    environment = {
        "IMGR_LOG_FORMAT": "json",
        "IMGR_STORE": f"file://{tmp_path}/store",
        "IMGR_TRITON_URL": "127.0.0.1:9",
    }
    adapter = Process(arguments, f"http://127.0.0.1:{port}", tmp_path / "log", environment)
    try:
        adapter.wait_until("/health/live")
        answer = httpx.get(f"{adapter.url}/health")
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["detail"]
        assert json.loads(adapter.text().splitlines()[0])["level"] == "warning"
    finally:
        adapter.stop()
