"""One encode per image, whatever restarts, on whichever replica."""

import pytest
import skimage.data

from tests.support.service import Adapter
from tests.support.service_client import ServiceClient, shown

pytestmark = pytest.mark.triton

CLICK = {"points": [(120, 90)], "labels": [1]}


def encodes(service):
    return service.triton_counter("nv_inference_count", "sam_encoder")


def test_later_clicks_never_run_the_encoder_again_here_or_on_another_replica(service, tmp_path):
    def adapter(name):
        log = tmp_path / f"{name}.log"
        return Adapter([service.triton_port], (tmp_path / "store").as_uri(), log)

    before = encodes(service)
    with adapter("first") as first:
        client = ServiceClient(first.wait_until_ready().url)
        image_id = client.upload(skimage.data.coffee())
        expected = shown(client.run(image_id, **CLICK))
        assert shown(client.run(image_id, **CLICK)) == expected
        client.wait_until_encoded(image_id)
        assert encodes(service) == before + 1

        with adapter("second") as second:
            second.wait_until_ready()
            assert shown(ServiceClient(second.url).run(image_id, **CLICK)) == expected
        first.process.kill()
        first.process.wait()
    with adapter("third") as third:
        third.wait_until_ready()
        assert shown(ServiceClient(third.url).run(image_id, **CLICK)) == expected
    assert encodes(service) == before + 1
