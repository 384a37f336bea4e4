"""Processes killed in the middle of traffic."""

import threading
import time

import httpx
import numpy as np
import psutil
import pytest
import skimage.data

from tests.support.service import Service
from tests.support.service_client import ServiceClient

pytestmark = pytest.mark.triton

CLICK = {"points": [(120, 90)], "labels": [1]}


@pytest.fixture
def fragile(small_repository, tmp_path):
    """A service that a test may harm."""
    service = Service(small_repository, tmp_path / "store", tmp_path / "log").wait_until_ready()
    yield service
    service.stop()


def tritonserver(service):
    return next(p for p in psutil.Process(service.pid).children() if p.name() == "tritonserver")


def shared_regions(service):
    return httpx.post(f"http://127.0.0.1:{service.triton_port}/v2/systemsharedmemory/status").json()


def test_clicks_outlast_a_killed_triton_and_get_right_masks_within_15_seconds(fragile):
    client = ServiceClient(fragile.url)
    image_id = client.upload(skimage.data.coffee())
    expected, _ = client.masks(image_id, **CLICK)
    assert len(shared_regions(fragile)) == 1
    answers, stop = [], threading.Event()

    def traffic():
        mine = ServiceClient(fragile.url)
        while not stop.is_set():
            answer = mine.run(image_id, **CLICK)
            answers.append((time.monotonic(), answer.status_code))

    threads = [threading.Thread(target=traffic) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    first = tritonserver(fragile)
    first.kill()
    killed = time.monotonic()
    first.wait()
    while not any(p.name() == "tritonserver" for p in psutil.Process(fragile.pid).children()):
        assert time.monotonic() < killed + 15, "Triton was not started anew"
        time.sleep(0.02)
    started = time.monotonic()
    while not any(answered > started for answered, _ in answers):
        assert time.monotonic() < killed + 15, "no answer within 15 s"
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for _, status in answers} == {200}
    np.testing.assert_array_equal(client.masks(image_id, **CLICK)[0], expected)
    assert len(shared_regions(fragile)) == 1, "clicks carry their embeddings to the new Triton"


def test_uploads_survive_a_killed_service_and_nothing_of_it_stays_behind(fragile, small_repository, tmp_path):
    client = ServiceClient(fragile.url)
    image_id = client.upload(skimage.data.coffee())
    expected, _ = client.masks(image_id, **CLICK)
    children = psutil.Process(fragile.pid).children(recursive=True)
    assert len(children) >= 3  # Triton and the stubs of both models
    fragile.process.kill()
    fragile.process.wait()
    _, orphans = psutil.wait_procs(children, timeout=10)
    assert not orphans
    again = Service(small_repository, tmp_path / "store", tmp_path / "log2").wait_until_ready()
    np.testing.assert_array_equal(ServiceClient(again.url).masks(image_id, **CLICK)[0], expected)
    again.stop()


def test_a_terminated_service_ends_cleanly_and_leaves_no_process(fragile):
    children = psutil.Process(fragile.pid).children(recursive=True)
    fragile.stop()
    assert fragile.process.returncode == 0
    assert not any(child.is_running() for child in children)


@pytest.mark.heavy
@pytest.mark.parametrize("frozen", ["tritonserver", "the decoder's process"])
def test_a_backend_that_hangs_is_told_by_readiness_and_started_anew(small_repository, tmp_path, frozen):
    with Service(small_repository, tmp_path / "store", tmp_path / "log", triton_hang_seconds=3) as service:
        service.wait_until_ready()
        client = ServiceClient(service.url)
        image_id = client.upload(skimage.data.coffee())
        expected, _ = client.masks(image_id, **CLICK)
        triton = tritonserver(service)
        stubs = [child for child in triton.children() if any("sam_decoder" in word for word in child.cmdline())]
        (triton if frozen == "tritonserver" else stubs[0]).suspend()
        statuses = []
        thread = threading.Thread(target=lambda: statuses.append(client.run(image_id, **CLICK).status_code))
        thread.start()
        deadline = time.monotonic() + 30
        while httpx.get(f"{service.url}/health/ready").status_code == 204:
            assert time.monotonic() < deadline, "readiness does not tell"
            time.sleep(0.05)
        service.wait_until_ready(30)
        thread.join()
        assert tritonserver(service).pid != triton.pid
        assert statuses == [200]
        np.testing.assert_array_equal(client.masks(image_id, **CLICK)[0], expected)
