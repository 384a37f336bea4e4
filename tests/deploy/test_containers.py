"""What the containers would run, without containers: the same commands, users and environment."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest

from imgr.triton.installation import install
from imgr.triton.ports import free_ports
from tests.deploy.test_compose import CPU, DOCKERFILE, ROOT
from tests.support.service_client import ServiceClient, png_pixels
from tests.support.users import as_user

pytestmark = pytest.mark.triton
BUILD, FINAL = re.split(r"(?m)^(?=FROM )", DOCKERFILE)[1:]


def environment_of(stage):
    """Return what the ENV lines of a stage of the Dockerfile set."""
    lines = re.findall(r"(?m)^ENV (.*)$", stage.replace("\\\n", ""))
    return dict(part.split("=", 1) for line in lines for part in shlex.split(line))


@pytest.fixture(scope="module")
def root():
    """A folder that everybody can read and only its owner can write."""
    with tempfile.TemporaryDirectory(prefix="imgr-containers-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def image(root):
    """The adapter's virtual environment, built from the files that the Dockerfile copies, by its commands."""
    app = root / "app"
    for sources in re.findall(r"(?m)^COPY (?!--)(.*)$", BUILD):
        *names, target = sources.split()
        for name in names:
            source, copy = ROOT / name, app / target / ("" if (ROOT / name).is_dir() else Path(name).name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
    uv = [os.environ.get("UV", shutil.which("uv")), "tool", "run", "uv@" + re.search(r"astral-sh/uv:(\S+)", BUILD)[1]]
    environment = (
        os.environ
        | environment_of(BUILD)
        | {
            "UV_COMPILE_BYTECODE": "0",
            "UV_LINK_MODE": "hardlink",
            "UV_PYTHON": sys.executable,
            "UV_SYSTEM_CERTS": "true",  # as pyproject.toml has it, which uv does not read when it fetches a tool
        }
    )
    environment.pop("VIRTUAL_ENV", None)
    for command in re.findall(r"(?m)^RUN (uv .*)$", BUILD):
        run = subprocess.run(
            [*uv, *shlex.split(command)[1:]], cwd=app, env=environment, capture_output=True, text=True, check=True
        )
        # A uv that does not know a setting ignores all of them.
        assert "Failed to parse" not in run.stderr
    return app / ".venv"


@pytest.fixture(scope="module")
def triton(root, small_repository):
    """tritonserver with the compose file's command, told where things are on this host; yields its ports."""
    shutil.copytree(small_repository, root / "models")
    http, metrics = free_ports(2)
    folder = root / "triton"
    folder.mkdir()
    installation = install(folder)
    flags = [flag.replace("=/models", f"={root}/models") for flag in CPU["triton"]["command"][1:]]
    command = [
        str(installation.executable), *flags,
        "--http-address=127.0.0.1", f"--http-port={http}", "--metrics-address=127.0.0.1", f"--metrics-port={metrics}",
    ]  # fmt: skip
    if installation.backends is not None:
        prefix = f"imgr-containers-{os.getpid()}"
        command += [
            f"--backend-directory={installation.backends}",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
        ]
    user, _ = CPU["triton"]["user"].split(":")
    with (root / "triton.log").open("wb") as log:
        process = subprocess.Popen(
            [*as_user(user), *command], env=os.environ | installation.environment, stdout=log, stderr=log, cwd=root
        )
    try:
        health = [part.replace(":8000", f":{http}") for part in CPU["triton"]["healthcheck"]["test"][1:]]
        until(
            lambda: subprocess.run(health, capture_output=True, check=False).returncode == 0,
            process,
            root / "triton.log",
        )
        yield process, http, metrics
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def adapter(root, image, triton):
    """The adapter as the image starts it; yields its process and its address."""
    (port,) = free_ports(1)
    user = re.search(r"(?m)^USER (\d+):", FINAL)[1]
    data = root / "data"
    data.mkdir()
    if as_user(user):
        os.chown(data, int(user), int(user))
    environment = environment_of(FINAL) | {k: v for k, v in CPU["api"]["environment"].items() if v is not None}
    environment["PATH"] = environment["PATH"].replace("/app/.venv", str(image)).replace("$PATH", os.environ["PATH"])
    environment["IMGR_STORE"] = environment["IMGR_STORE"].replace("/data/", f"{data}/")
    environment["IMGR_TRITON_URL"] = environment["IMGR_TRITON_URL"].replace("triton:8000", f"127.0.0.1:{triton[1]}")
    command = json.loads(re.search(r"(?m)^CMD (\[.*\])$", FINAL)[1])
    command = [{"0.0.0.0": "127.0.0.1", "8000": str(port)}.get(part, part) for part in command]
    # The folder it runs in is not its own: nothing but the store and the temporary folder may be written.
    with (root / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [*as_user(user), str(image / "bin" / command[0]), *command[1:]],
            env=environment, stdout=log, stderr=log, cwd=root,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/health/ready"), process, root / "api.log")
        yield process, url, environment
    finally:
        process.terminate()
        assert process.wait(30) in {0, -15}


def succeeds(command):
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def answers(url):
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def until(condition, process, log, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text(errors="replace")[-8000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-8000:]
        time.sleep(0.1)


def test_the_image_holds_what_the_adapter_needs_and_nothing_of_what_others_need(image):
    packages = {path.name for path in (image / "lib").glob("python3*/site-packages/*")}
    assert {"frontend_api", "imgr", "uvicorn", "obstore"} <= packages
    assert any(name.startswith("opentelemetry_sdk-") for name in packages)
    assert not {"torch", "onnx", "onnxruntime", "tritonserver", "grpc", "pytest", "segment_anything"} & packages


def test_a_click_is_answered(adapter, astronaut):
    client = ServiceClient(adapter[1])
    image_id = client.upload(astronaut)
    answer = client.run(image_id, points=[(200, 200)], labels=[1])
    assert answer.status_code == 200, answer.text
    assert [png_pixels(result["mask"]).shape for result in answer.json()["results"]] == [(512, 512)] * 3


def test_each_runs_as_its_user(adapter, triton):
    if not as_user("1"):
        pytest.skip("only root can become somebody else")
    assert psutil.Process(adapter[0].pid).uids() == (10001, 10001, 10001)
    assert psutil.Process(triton[0].pid).uids().effective == 1000


def test_the_images_health_check_succeeds_and_fails(adapter):
    check = json.loads(re.search(r"(?m)^HEALTHCHECK .* CMD (\[.*\])$", FINAL)[1])
    (closed,) = free_ports(1)
    for port, status in [(adapter[1].rpartition(":")[2], 0), (str(closed), 1)]:
        run = subprocess.run(
            [part.replace("8000", port) for part in check], env=adapter[2], capture_output=True, check=False
        )
        assert run.returncode == status


def test_a_model_added_to_the_mounted_repository_comes_into_service(adapter, root, small_repository):
    for model in ("sam_encoder", "sam_decoder"):
        shutil.copytree(small_repository / model / "1", root / "staged" / model)
    for model in ("sam_encoder", "sam_decoder"):
        (root / "staged" / model).rename(root / "models" / model / "2")
    until(lambda: httpx.get(f"{adapter[1]}/health").json()["model"]["version"] == 2, adapter[0], root / "api.log")


def test_the_log_is_json(adapter, root):
    for line in (root / "api.log").read_text().splitlines():
        assert json.loads(line)["level"] in {"info", "warning"}, line
