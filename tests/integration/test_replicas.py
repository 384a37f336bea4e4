"""Two adapters behind nginx, two Tritons, one object store: what one did, the other knows; what dies, dies alone."""

import contextlib
import io
import itertools
import shutil
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import skimage.data
from PIL import Image

from tests.support.nginx import Nginx
from tests.support.object_store import ObjectStore
from tests.support.reference import iou
from tests.support.service import Adapter
from tests.support.service_client import ServiceClient, click_fields, png_pixels
from tests.support.traffic import Clients
from tests.support.triton import Triton

pytestmark = pytest.mark.triton

CLICK = {"points": [(120, 90)], "labels": [1]}
MODELS = ("sam_decoder", "sam_encoder")


@dataclass
class Cluster:
    """Everything, each part started anew. Every Triton has a copy of the model repository."""

    url: str
    adapters: list[Adapter]
    tritons: list[Triton]
    repositories: list[Path]


@pytest.fixture
def cluster(small_repository, tmp_path):
    with contextlib.ExitStack() as stack:

        def started(part):
            stack.callback(part.stop)
            return part

        repositories = [shutil.copytree(small_repository, tmp_path / f"repository{n}") for n in (1, 2)]
        tritons = [started(Triton(copy, tmp_path / f"{copy.name}.log")) for copy in repositories]
        store = started(ObjectStore(tmp_path / "store.log")).wait_until_ready()
        ports = [triton.port for triton in tritons]
        adapters = [
            started(
                Adapter(ports, store.bucket, tmp_path / f"adapter{n}.log", store.credentials, model_poll_seconds=0.2)
            )
            for n in (1, 2)
        ]
        nginx = started(Nginx(tmp_path / "nginx", *(adapter.url for adapter in adapters)))
        for triton in tritons:
            triton.wait_until_ready(*MODELS)
        for adapter in adapters:
            adapter.wait_until_ready()
        yield Cluster(nginx.wait_until_ready().url, adapters, tritons, repositories)


class Traffic(Clients):
    """People at addresses of their own who click, and one who uploads, all without pause.

    Attributes:
        answers: (status, Retry-After, image id, masks or None) of each click.
        uploads: (status, Retry-After, image id or None) of each upload.
        cut: answers that broke off.
    """

    def __init__(self, url, image_ids, clients=4):
        actions = (*[self._click] * clients, self._upload)
        super().__init__(partial(self._repeat, action, n) for n, action in enumerate(actions, 2))
        self.answers, self.uploads, self.cut = [], [], []
        self._url, self._image_ids = url, image_ids

    def _repeat(self, action, n):
        # nginx sends each address to one adapter.
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{n}")
        with httpx.Client(base_url=self._url, timeout=60, transport=transport) as http:
            for turn in itertools.count(n):
                if self.stopping.is_set():
                    break
                try:
                    action(http, turn)
                except (httpx.ReadError, httpx.RemoteProtocolError) as error:
                    self.cut.append(error)

    def _click(self, http, turn):
        image_id = self._image_ids[turn % len(self._image_ids)]
        answer = http.post("/api/run", data=click_fields(image_id, **CLICK, feather_method="none"))
        masks = None
        if answer.status_code == 200:
            masks = [png_pixels(result["mask"]) > 127 for result in answer.json()["results"]]
        self.answers.append((answer.status_code, answer.headers.get("retry-after"), image_id, masks))

    def _upload(self, http, turn):
        buffer = io.BytesIO()
        Image.fromarray(np.roll(skimage.data.coffee()[::4, ::4], turn, axis=1)).save(buffer, "JPEG")
        answer = http.post("/api/upload/image", files={"file": ("a.jpg", buffer.getvalue())})
        image_id = answer.json()["image_id"] if answer.status_code == 200 else None
        self.uploads.append((answer.status_code, answer.headers.get("retry-after"), image_id))
        self.stopping.wait(0.5)

    def wait_for(self, more=12, seconds=60):
        """Wait until so many more clicks, and one more upload, were answered with 200."""

        def done():
            return [sum(each[0] == 200 for each in list(answers)) for answers in (self.answers, self.uploads)]

        clicks, uploads = done()
        deadline = time.monotonic() + seconds
        while not (done()[0] >= clicks + more and done()[1] > uploads):
            assert time.monotonic() < deadline, "the answers have stopped"
            time.sleep(0.05)


def kill_tritonserver(triton):
    children = psutil.Process(triton.supervisor.pid).children(recursive=True)
    next(child for child in children if child.name() == "tritonserver").kill()


def test_an_adapter_and_a_triton_killed_under_load_lose_nothing_and_cost_503_at_most(cluster):
    first, second = (ServiceClient(adapter.url) for adapter in cluster.adapters)
    image_ids = [first.upload(pixels) for pixels in (skimage.data.coffee(), skimage.data.astronaut())]
    expected = {image_id: second.masks(image_id, **CLICK)[0] for image_id in image_ids}
    with Traffic(cluster.url, image_ids) as traffic:
        traffic.wait_for()
        kill_tritonserver(cluster.tritons[0])
        traffic.wait_for()
        cluster.tritons[0].wait_until_ready(*MODELS)
        before = cluster.tritons[0].counter("nv_inference_request_success", "sam_decoder")
        traffic.wait_for()
        assert cluster.tritons[0].counter("nv_inference_request_success", "sam_decoder") > before  # it is used again
        assert not traffic.cut
        assert {status for status, *_ in (*traffic.answers, *traffic.uploads)} == {200}  # the other one stood in
        cluster.adapters[0].stop(signal.SIGKILL)
        traffic.wait_for()

    failures = [each for each in (*traffic.answers, *traffic.uploads) if each[0] != 200]
    assert {status for status, *_ in failures} <= {503}
    assert all(retry_after for _, retry_after, *_ in failures)
    assert len(traffic.cut) <= 5  # nobody can have waited for more than one answer of the killed adapter
    for _, _, image_id, masks in traffic.answers:
        if masks is not None:
            assert all(iou(mask, right) > 0.99 for mask, right in zip(masks, expected[image_id], strict=True))
    uploaded = [image_id for status, _, image_id in traffic.uploads if status == 200]
    assert len(uploaded) >= 4
    for image_id in uploaded:
        assert second.run(image_id, points=[(50, 40)], labels=[1]).status_code == 200


def test_a_version_is_served_by_nobody_until_every_triton_has_it_and_then_by_all(cluster, small_repository):
    def publish(repository):
        for model in MODELS:
            stage = repository.parent / f"{repository.name}-{model}"
            shutil.copytree(small_repository / model / "1", stage)
            stage.rename(repository / model / "2")

    def served():
        return {httpx.get(f"{adapter.url}/health").json()["model"]["version"] for adapter in cluster.adapters}

    image_ids = [ServiceClient(cluster.url).upload(skimage.data.coffee())]
    with Traffic(cluster.url, image_ids, clients=2) as traffic:
        publish(cluster.repositories[0])
        deadline = time.monotonic() + 60
        while not all(cluster.tritons[0].index().get((model, "2")) == ("READY", "") for model in MODELS):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(10):
            assert served() == {1}
            time.sleep(0.1)
        publish(cluster.repositories[1])
        while served() != {2}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        traffic.wait_for()
    assert not traffic.cut
    assert {status for status, *_ in (*traffic.answers, *traffic.uploads)} == {200}
