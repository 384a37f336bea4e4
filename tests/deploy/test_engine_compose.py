"""docker-compose.yml on a real container engine, as it is but for its ports: `make deploy-test`."""

import re
import shutil
import ssl
import subprocess
import threading

import httpx
import pytest

from imgr.triton.ports import free_ports
from tests.deploy.test_compose import CPU, ROOT
from tests.support.engine import Compose, running_engine, until
from tests.support.service_client import ServiceClient, png_pixels, shown

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]
SERVICES = ("triton", "api", "prometheus")
FILES = ("docker-compose.yml", "tests/deploy/engine.override.yml")


@pytest.fixture(scope="module")
def engine():
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A copy of the shipped model repository, readable for everybody."""
    folder = tmp_path_factory.mktemp("compose") / "models"
    shutil.copytree(ROOT / "model_repository", folder, ignore=shutil.ignore_patterns(".*"))
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def ports():
    return dict(zip(("TEST_API_PORT", "TEST_PROMETHEUS_PORT"), map(str, free_ports(2)), strict=True))


@pytest.fixture(scope="module")
def compose(engine, models, ports):
    """The project; its start is in `compose.log`."""
    compose = Compose(engine, "imgr-test", *FILES, TEST_MODELS=str(models), **ports)
    try:
        compose.log = compose("up", "--detach", "--no-build")
        yield compose
    finally:
        compose("down", "--volumes")


@pytest.fixture(scope="module")
def url(compose, ports):
    url = f"http://127.0.0.1:{ports['TEST_API_PORT']}"
    until(lambda: httpx.get(f"{url}/health/ready").is_success)
    return url


def click(url, image_id):
    return ServiceClient(url).run(image_id, points=[(200, 200)], labels=[1])


@pytest.fixture(scope="module")
def image_id(url, astronaut):
    return ServiceClient(url).upload(astronaut)


def test_the_adapter_starts_when_triton_is_healthy(compose):
    assert re.search(r"triton-1 +Healthy.*api-1 +Starting", compose.log, re.DOTALL)


def test_a_click_is_answered(url, image_id):
    answer = click(url, image_id)
    assert answer.status_code == 200, answer.text
    assert [png_pixels(result["mask"]).shape for result in answer.json()["results"]] == [(512, 512)] * 3


@pytest.mark.parametrize("service", SERVICES)
def test_each_runs_as_its_user_without_any_capability(engine, compose, service):
    status = engine("exec", compose.container(service), "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    user = CPU[service]["user"].split(":")[0] if "user" in CPU[service] else "10001"
    assert set(fields["Uid"].split()) == {user}
    assert [int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")] == [0, 0, 0]
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize(
    ("service", "path"), [("api", "/x"), ("api", "/app/x"), ("prometheus", "/x"), ("prometheus", "/etc/prometheus/x"),
                          ("triton", "/x"), ("triton", "/models/x")]
)  # fmt: skip
def test_what_is_not_to_be_written_cannot_be(engine, compose, service, path):
    assert engine.fails("exec", compose.container(service), "sh", "-c", f"echo >{path}")


@pytest.mark.parametrize("path", ["/tmp/x", "/data/x"])
def test_the_adapter_can_write_where_it_has_to(engine, compose, path):
    engine("exec", compose.container("api"), "sh", "-c", f"echo >{path} && rm {path}")


def test_the_adapters_temporary_folder_is_bounded(engine, compose):
    blocks = engine("exec", compose.container("api"), "sh", "-c", "df -k /tmp | tail -1").split()
    assert (blocks[0], int(blocks[1])) == ("tmpfs", 512 * 1024)


@pytest.mark.parametrize("service", SERVICES)
def test_memory_is_limited(engine, compose, service):
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    limit = engine("exec", compose.container(service), "sh", "-c", f"cat {files} 2>/dev/null", check=False)
    assert limit == CPU[service]["deploy"]["resources"]["limits"]["memory"]


def test_what_crosses_from_triton_to_its_models_has_room(engine, compose):
    blocks = engine("exec", compose.container("triton"), "sh", "-c", "df -k /dev/shm | tail -1").split()
    assert int(blocks[1]) * 1024 == int(CPU["triton"]["shm_size"])


@pytest.mark.parametrize("service", SERVICES)
def test_each_is_healthy(engine, compose, service):
    until(lambda: engine.inspect(compose.container(service))["State"]["Health"]["Status"] == "healthy")


def up(ports):
    found = query(ports, "up")
    return {sample["metric"]["job"]: sample["value"][1] for sample in found}


def query(ports, expression):
    answer = httpx.get(f"http://127.0.0.1:{ports['TEST_PROMETHEUS_PORT']}/api/v1/query", params={"query": expression})
    return answer.json()["data"]["result"]


def test_both_are_scraped(url, image_id, ports):
    until(lambda: up(ports) == {"imgr": "1", "triton": "1"})
    assert click(url, image_id).status_code == 200
    until(lambda: query(ports, 'imgr_request_duration_seconds_count{route="/api/run",status="200"}'))
    until(lambda: query(ports, 'nv_inference_count{model="sam_decoder"}'))


class Clicking:
    """Clicks without pause while it is open, and keeps the answers' statuses."""

    def __init__(self, url, image_id):
        self.statuses = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(url, image_id))

    def run(self, url, image_id):
        while not self.ended.is_set():
            self.statuses.append(click(url, image_id).status_code)

    def __enter__(self):
        self.thread.start()
        return self.statuses

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def test_a_version_added_by_hand_takes_over_without_a_failed_click(url, image_id, models):
    with Clicking(url, image_id) as statuses:
        for model in ("sam_encoder", "sam_decoder"):
            shutil.copytree(models / model / "1", models.parent / model)
        for model in ("sam_encoder", "sam_decoder"):
            (models.parent / model).rename(models / model / "2")
        until(lambda: httpx.get(f"{url}/health").json()["model"]["version"] == 2)
    assert set(statuses) == {200}


def kill(engine, container):
    """Kill a container's first process as the kernel would. One that the engine is told to kill it restarts not."""
    pid = engine.inspect(container)["State"]["Pid"]
    run = subprocess.run(["kill", "-9", str(pid)], capture_output=True, check=False)
    if run.returncode:
        pytest.skip("the processes of containers belong to somebody else")


@pytest.mark.parametrize("service", ["triton", "api"])
def test_a_process_that_is_killed_is_started_again(engine, compose, url, image_id, service):
    container = compose.container(service)
    before = engine.inspect(container)["State"]["Pid"]
    kill(engine, container)
    until(lambda: engine.inspect(container)["State"]["Pid"] not in {0, before})
    until(lambda: click(url, image_id).status_code == 200)


def test_the_alert_fires_when_triton_is_gone(engine, compose, url, image_id, ports):
    compose("stop", "triton")
    until(lambda: query(ports, 'ALERTS{alertname="TritonDown",alertstate="firing"}'), 240)
    assert httpx.get(f"{url}/health/ready").status_code == 503
    compose("start", "triton")
    until(lambda: click(url, image_id).status_code == 200)


def test_all_end_by_themselves_and_the_photos_are_there_afterwards(engine, compose, url, image_id):
    before = shown(click(url, image_id))
    compose("stop")
    codes = {service: engine.inspect(compose.container(service))["State"]["ExitCode"] for service in SERVICES}
    assert set(codes.values()) <= {0, 143}, codes  # 137 is one that had to be killed
    compose("down")
    compose("up", "--detach", "--no-build")
    until(lambda: httpx.get(f"{url}/health/ready").is_success)
    assert shown(click(url, image_id)) == before


def test_behind_nginx_there_are_tls_and_keys(engine, compose, ports, models, image_id, astronaut):
    folder = models.parent / "certificates"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "key.pem").chmod(0o644)
    (tls,) = free_ports(1)
    more = {"IMGR_API_KEYS": "sesame", "IMGR_CERTIFICATES": str(folder), "IMGR_TLS_PORT": str(tls)}
    # The file that closes the adapter's port comes last.
    files = (*FILES, "deploy/nginx/compose.tls.yml")
    with_tls = Compose(engine, compose.name, *files, TEST_MODELS=str(models), **ports, **more)
    with_tls("up", "--detach", "--no-build")
    try:
        trust = ssl.create_default_context(cafile=folder / "certificate.pem")
        with httpx.Client(base_url=f"https://127.0.0.1:{tls}", verify=trust, timeout=120) as client:
            until(lambda: client.get("/health/ready").is_success)
            assert client.get(f"/api/images/{image_id}").status_code == 401
            answer = client.get(f"/api/images/{image_id}", headers={"X-API-Key": "sesame"})
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"]
            assert client.get("/metrics").status_code == 404
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{ports['TEST_API_PORT']}/health")
    finally:
        with_tls("down")
