"""The real Prometheus, with the shipped rules and the dashboard's queries, watches a running `imgr serve`."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from imgr.triton.ports import free_ports
from tests.deploy.test_compose import CPU
from tests.deploy.test_rules import ALERTS, PANELS, PROMETHEUS, RULES
from tests.support.service import Service
from tests.support.service_client import ServiceClient, image_bytes
from tests.support.users import as_user

pytestmark = pytest.mark.triton
FASTER = 30  # times, than the shipped configuration
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel.get("targets", [])
]


def hurried(text):
    """Return a configuration or rules with all windows and waits shortened, and sixteen times the scrapes."""
    seconds = {"s": 1, "m": 60, "h": 3600}

    def shorter(match):
        milliseconds = max(300, int(match[2]) * seconds[match[3]] * 1000 // FASTER)
        return f"{match[1]}{milliseconds}ms"

    return re.sub(r"(\[|for: |_interval: )(\d+)([smh])\b", shorter, text)


@pytest.fixture(scope="module")
def service(small_repository, tmp_path_factory):
    """`imgr serve` with few places for clicks, so that some are refused."""
    folder = tmp_path_factory.mktemp("watched")
    service = Service(small_repository, folder / "store", folder / "log", max_concurrent_clicks=2)
    yield service.wait_until_ready()
    service.stop()


@pytest.fixture(scope="module")
def prometheus(service):
    """Prometheus as the compose file starts it, with the shipped files made faster; yields a client of it."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="imgr-prometheus-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(PROMETHEUS, folder / "etc")
        for path in (folder / "etc").rglob("*.yml"):
            text = hurried(path.read_text())
            text = text.replace("api:8000", service.url.removeprefix("http://"))
            path.write_text(text.replace("triton:8002", f"127.0.0.1:{service.metrics_port}"))
        user = CPU["prometheus"]["user"].split(":")[0]
        (folder / "data").mkdir()
        if as_user(user):
            shutil.chown(folder / "data", int(user), int(user))
        flags = [
            flag.replace("/etc/prometheus", f"{folder}/etc").replace("=/prometheus", f"={folder}/data")
            for flag in CPU["prometheus"]["command"]
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*as_user(user), "prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}"],
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                until(lambda: ready(client), lambda: (folder / "log").read_text()[-4000:])
                yield client
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def _load(service, astronaut):
    """Uploads, clicks, refusals and mistakes, until the tests of this module are over."""
    client, over = ServiceClient(service.url), threading.Event()

    def visit(number):
        while not over.is_set():
            with contextlib.suppress(AssertionError, httpx.TransportError):
                image_id = client.upload(astronaut[: 100 + number])
                for _ in range(5):
                    client.run(image_id, points=[(50, 50)], labels=[1])
                    over.wait(0.2)
                httpx.post(f"{service.url}/api/upload/image", files={"file": ("a.jpg", image_bytes(astronaut, "JPEG"))})
                client.run(image_id, points=[(-1, 50)], labels=[1])

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    for visitor in visitors:
        visitor.start()
    yield
    over.set()
    for visitor in visitors:
        visitor.join()


def until(condition, explanation, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, explanation()
        time.sleep(0.2)
    return found


def ready(client):
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False


def asked(client, expression):
    """Return the values that a query has now, NaN left out."""
    expression = hurried(expression.replace("$__rate_interval", "5m"))
    answer = client.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", answer
    return [sample["value"][1] for sample in answer["data"]["result"] if sample["value"][1] != "NaN"]


def alerts(client):
    """Return {name: state} of the alerts that are pending or firing."""
    active = client.get("/api/v1/alerts").json()["data"]["alerts"]
    return {alert["labels"]["alertname"]: alert["state"] for alert in active}


def rules(client):
    groups = client.get("/api/v1/rules").json()["data"]["groups"]
    return {rule["name"]: rule for group in groups for rule in group["rules"]}


@pytest.mark.usefixtures("_load")
def test_both_targets_are_scraped(prometheus):
    def healthy():
        targets = prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"] for target in targets if target["health"] == "up"} == {"imgr", "triton"}

    until(healthy, lambda: prometheus.get("/api/v1/targets").text)


@pytest.mark.usefixtures("_load")
@pytest.mark.parametrize("record", [rule["record"] for rule in RULES if "record" in rule])
def test_every_rule_gives_data(prometheus, record):
    until(lambda: asked(prometheus, record), lambda: json.dumps(rules(prometheus)[record], indent=1))
    assert rules(prometheus)[record]["health"] == "ok"


@pytest.mark.usefixtures("_load")
@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_dashboard_gives_data(prometheus, query):
    until(lambda: asked(prometheus, query), lambda: query)


@pytest.mark.usefixtures("_load")
def test_an_exemplar_leads_from_a_slow_click_to_its_log(prometheus, service):
    now = time.time()
    found = prometheus.get(
        "/api/v1/query_exemplars",
        params={"query": 'imgr_request_duration_seconds_bucket{route="/api/run"}', "start": now - 60, "end": now},
    ).json()["data"]
    request_id = found[0]["exemplars"][0]["labels"]["request_id"]
    assert request_id in service.log.read_text()


@pytest.mark.usefixtures("_load")
def test_alerts_fire_when_triton_hangs_and_when_it_is_killed_and_end_when_it_serves(prometheus, service):
    assert {rule["name"] for rule in rules(prometheus).values() if rule["type"] == "alerting"} == ALERTS.keys()
    expected = {"TritonDown": "firing", "NoModelInService": "firing"}

    def tritonserver():
        family = psutil.Process(service.pid).children(recursive=True)
        (process,) = (child for child in family if child.name() == "tritonserver")
        return process

    def quiet():
        return not expected.keys() & alerts(prometheus).keys()

    until(quiet, lambda: str(alerts(prometheus)))
    hanging = tritonserver()
    hanging.send_signal(signal.SIGSTOP)
    try:
        until(lambda: expected.items() <= alerts(prometheus).items(), lambda: str(alerts(prometheus)))
    finally:
        hanging.send_signal(signal.SIGCONT)
    until(quiet, lambda: str(alerts(prometheus)))
    tritonserver().kill()
    until(lambda: "TritonDown" in alerts(prometheus), lambda: str(alerts(prometheus)))
    until(quiet, lambda: str(alerts(prometheus)))
