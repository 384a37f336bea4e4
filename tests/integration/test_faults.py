"""Processes killed in the middle of traffic."""

import os
import signal
import subprocess
import threading
import time

import numpy as np
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


def descendants(pid):
    """Return {pid: command} of a process' living descendants."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [(int(pid), int(parent), args) for pid, parent, args in (line.split(None, 2) for line in table.splitlines())]
    found, frontier = {}, {pid}
    while frontier:
        children = {p: args for p, parent, args in rows if parent in frontier}
        found |= children
        frontier = set(children)
    return found


def tritonserver(service):
    return next(pid for pid, args in descendants(service.pid).items() if "bin/tritonserver" in args)


def test_killing_triton_yields_503_only_and_right_masks_again_within_15_seconds(fragile):
    client = ServiceClient(fragile.url)
    image_id = client.upload(skimage.data.coffee())
    expected, _ = client.masks(image_id, **CLICK)
    answers, stop = [], threading.Event()

    def traffic():
        mine = ServiceClient(fragile.url)
        while not stop.is_set():
            answer = mine.run(image_id, **CLICK)
            answers.append((time.monotonic(), answer.status_code, answer.headers.get("retry-after")))

    threads = [threading.Thread(target=traffic) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    killed = time.monotonic()
    os.kill(tritonserver(fragile), signal.SIGKILL)
    while not any(at > killed and status == 503 for at, status, _ in answers):
        assert time.monotonic() < killed + 15, "the kill went unnoticed"
        time.sleep(0.02)
    noticed = time.monotonic()
    while not any(at > noticed and status == 200 for at, status, _ in answers):
        assert time.monotonic() < killed + 15, "no mask within 15 s"
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for _, status, _ in answers} == {200, 503}
    assert all(retry_after for _, status, retry_after in answers if status == 503)
    np.testing.assert_array_equal(client.masks(image_id, **CLICK)[0], expected)


def test_uploads_survive_a_killed_service_and_nothing_of_it_stays_behind(fragile, small_repository, tmp_path):
    client = ServiceClient(fragile.url)
    image_id = client.upload(skimage.data.coffee())
    expected, _ = client.masks(image_id, **CLICK)
    children = descendants(fragile.pid)
    assert children
    fragile.process.kill()
    fragile.process.wait()
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in children):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.1)
    again = Service(small_repository, tmp_path / "store", tmp_path / "log2").wait_until_ready()
    np.testing.assert_array_equal(ServiceClient(again.url).masks(image_id, **CLICK)[0], expected)
    again.stop()


def test_a_terminated_service_ends_cleanly_and_leaves_no_process(fragile):
    children = descendants(fragile.pid)
    fragile.stop()
    assert fragile.process.returncode == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in children)
