"""A client of a running service, as short as the tests want it."""

import base64
import io
import json
import time

import httpx
import numpy as np
from PIL import Image


def png_pixels(uri):
    """Decode a PNG data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def shown(answer):
    """Return an answer's pictures and scores, to compare: equal pictures may be written in different bytes."""
    assert answer.status_code == 200, answer.text
    return [
        (result["score"], png_pixels(result["mask"]).tolist(), png_pixels(result["masked_image"]).tolist())
        for result in answer.json()["results"]
    ]


def image_bytes(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def click_fields(image_id, points=(), labels=(), box=None, mask_id=None, **more):
    fields = {
        "original_image_id": image_id,
        "points": json.dumps([{"x": x, "y": y} for x, y in points]),
        "labels": json.dumps(list(labels)),
    }
    if box is not None:
        fields["box"] = json.dumps([float(side) for side in box])
    if mask_id is not None:
        fields["mask_image_id"] = mask_id
    return fields | more


class ServiceClient:
    """Uploads and clicks over HTTP."""

    def __init__(self, url):
        self.url = url

    def upload(self, pixels, **fields):
        files = {"file": ("a.png", image_bytes(pixels))}
        answer = httpx.post(f"{self.url}/api/upload/image", files=files, data=fields, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.json()["image_id"]

    def run(self, image_id, **prompt):
        return httpx.post(f"{self.url}/api/run", data=click_fields(image_id, **prompt), timeout=120)

    def masks(self, image_id, **prompt):
        """Return (hard masks bool [3, H, W], scores [3]) of a click without feathering."""
        answer = self.run(image_id, feather_method="none", **prompt)
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        return np.stack([png_pixels(r["mask"]) > 127 for r in results]), np.array([r["score"] for r in results])

    def wait_until_encoded(self, image_id, seconds=60):
        deadline = time.monotonic() + seconds
        while not httpx.get(f"{self.url}/api/images/{image_id}").json()["embedding_ready"]:
            assert time.monotonic() < deadline, "the embedding never became ready"
            time.sleep(0.05)
