"""Dynamic batching, seen in Triton's own counters."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import skimage.data

pytestmark = pytest.mark.triton


def test_concurrent_clicks_share_decoder_executions(service, client):
    image_ids = [client.upload(skimage.data.astronaut()[: 200 + i]) for i in range(4)]
    for image_id in image_ids:
        client.wait_until_encoded(image_id)
    counters = ("nv_inference_exec_count", "nv_inference_count")
    before = [service.triton_counter(name, "sam_decoder") for name in counters]

    def click(n):
        return client.run(image_ids[n % 4], points=[(n, n)], labels=[1]).status_code

    with ThreadPoolExecutor(16) as clients:
        assert set(clients.map(click, range(160))) == {200}
    executions, requests = (
        service.triton_counter(name, "sam_decoder") - start for name, start in zip(counters, before, strict=True)
    )
    assert requests == 160
    assert executions < 0.7 * requests
