"""Models swapped, edited and broken under load: every answer is one checkpoint's, and none fails."""

import shutil
import threading
import time
from collections import Counter
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import skimage.data

from export import export
from tests.support.checkpoints import write_checkpoint
from tests.support.reference import iou
from tests.support.service import Service
from tests.support.service_client import ServiceClient, click_fields, png_pixels

pytestmark = [pytest.mark.triton, pytest.mark.timeout(600)]

CLICK = {"points": [(120, 90)], "labels": [1]}
MODELS = ("sam_decoder", "sam_encoder")


@pytest.fixture(scope="module")
def second_repository(tmp_path_factory):
    """A repository with another checkpoint as version 1."""
    folder = tmp_path_factory.mktemp("second")
    export(write_checkpoint(folder / "second.pth", seed=1), folder / "repository")
    return folder / "repository"


class Traffic:
    """Clients clicking without pause; keeps what they were told."""

    def __init__(self, url, image_ids, clients=8):
        self.url = url
        self.image_ids = image_ids
        self.answers = []  # (seconds, status, image id, scores, mask, detail)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._click, args=(n,)) for n in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _click(self, n):
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self._stop.is_set():
                image_id = self.image_ids[n % len(self.image_ids)]
                started = time.perf_counter()
                answer = http.post("/api/run", data=click_fields(image_id, **CLICK, feather_method="none"))
                seconds = time.perf_counter() - started
                if answer.status_code == 200:
                    best = answer.json()["results"]
                    mask = png_pixels(best[0]["mask"]) > 127
                    self.answers.append((seconds, 200, image_id, [r["score"] for r in best], mask, ""))
                else:
                    self.answers.append((seconds, answer.status_code, image_id, None, None, answer.text))

    def wait_for(self, more=16, seconds=60):
        """Wait until so many more answers came."""
        target, deadline = len(self.answers) + more, time.monotonic() + seconds
        while len(self.answers) < target:
            assert time.monotonic() < deadline, "the clicks have stopped"
            time.sleep(0.02)


@contextmanager
def running(repository, tmp_path):
    service = Service(repository, tmp_path / "store", tmp_path / "log").wait_until_ready()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def repository(small_repository, tmp_path):
    return shutil.copytree(small_repository, tmp_path / "repository")


def publish(source, target, version):
    """Copy a version as an operator would who moves whole folders in."""
    for model in MODELS:
        stage = target.parent / f"{model}-{version}"
        shutil.copytree(source / model / "1", stage)
        stage.rename(target / model / str(version))


def withdraw(repository, version):
    for model in MODELS:
        shutil.rmtree(repository / model / str(version))


def served(service):
    body = httpx.get(f"{service.url}/health").json()
    return body["model"] and (body["model"]["version"], body["model"]["identity"])


def wait_until_served(service, version, identity=None, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        model = served(service)
        if model and model[0] == version and identity in (None, model[1]):
            return model[1]
        assert time.monotonic() < deadline, (model, httpx.get(f"{service.url}/health").text, service.text()[-3000:])
        time.sleep(0.1)


def known_answers(service, image_ids):
    client = ServiceClient(service.url)
    return {image_id: client.masks(image_id, **CLICK) for image_id in image_ids}


def assert_all_right(traffic, *known):
    failures = Counter((status, detail) for _, status, _, _, _, detail in traffic.answers if status != 200)
    assert not failures
    for _, _, image_id, scores, mask, _ in traffic.answers:
        assert any(
            np.allclose(scores, answers[image_id][1], atol=1e-3) and iou(mask, answers[image_id][0][0]) > 0.99
            for answers in known
        ), "a mask that belongs to neither checkpoint"


def test_swaps_under_load_fail_no_click_and_mix_no_checkpoints(repository, second_repository, tmp_path):
    first_source = shutil.copytree(repository, tmp_path / "first")
    with running(repository, tmp_path) as service:
        client = ServiceClient(service.url)
        image_ids = [client.upload(skimage.data.astronaut()[i * 20 :]) for i in range(3)]
        first_identity = served(service)[1]
        first = known_answers(service, image_ids)
        publish(second_repository, repository, 2)
        second_identity = wait_until_served(service, 2)
        assert second_identity != first_identity
        second = known_answers(service, image_ids)
        withdraw(repository, 2)
        wait_until_served(service, 1, first_identity)
        with Traffic(service.url, image_ids) as traffic:
            for _ in range(2):
                traffic.wait_for()
                publish(second_repository, repository, 2)
                wait_until_served(service, 2, second_identity)
                traffic.wait_for()
                for model in MODELS:  # replaced in place: the first checkpoint under the second's number
                    shutil.copy(first_source / model / "1" / "model.onnx", repository / model / "2" / "new.onnx")
                    (repository / model / "2" / "new.onnx").rename(repository / model / "2" / "model.onnx")
                wait_until_served(service, 2, first_identity)
                traffic.wait_for()
                withdraw(repository, 2)
                wait_until_served(service, 1, first_identity)
        assert_all_right(traffic, first, second)


def break_file(repository):
    publish_one = repository / "sam_decoder" / "2"
    publish_one.mkdir()
    (publish_one / "model.onnx").write_bytes(b"half a model")
    shutil.copytree(repository / "sam_encoder" / "1", repository / "sam_encoder" / "2")


def truncate_file(repository):
    for model in MODELS:
        shutil.copytree(repository / model / "1", repository / model / "2")
    graph = repository / "sam_encoder" / "2" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def swap_roles(repository):
    for model, other in (MODELS, MODELS[::-1]):
        shutil.copytree(repository / other / "1", repository / model / "2")


def misspell_configuration(repository):
    config = repository / "sam_decoder" / "config.pbtxt"
    config.write_text(config.read_text().replace("dynamic_batching", "dynamic_baching"))


def empty_version(repository):
    for model in MODELS:
        (repository / model / "2").mkdir()


@pytest.mark.parametrize("break_", [break_file, truncate_file, swap_roles, misspell_configuration, empty_version])
def test_a_broken_edit_under_load_leaves_the_old_pair_serving(break_, repository, tmp_path):
    with running(repository, tmp_path) as service:
        client = ServiceClient(service.url)
        image_ids = [client.upload(skimage.data.astronaut())]
        known = known_answers(service, image_ids)
        with Traffic(service.url, image_ids, clients=4) as traffic:
            traffic.wait_for()
            break_(repository)
            time.sleep(4)
            traffic.wait_for()
        assert_all_right(traffic, known)
        assert served(service)[0] == 1
