"""An S3 server in a process of its own."""

import time
from pathlib import Path

import httpx

from tests.support.service import Process, free_port


class ObjectStore(Process):
    """A server of the S3 protocol with one bucket, in memory.

    Attributes:
        bucket: the bucket's URL, as `IMGR_STORE` takes it.
        credentials: environment variables by which a client reaches it.
    """

    def __init__(self, log: Path):
        port = free_port()
        super().__init__(["moto.server", "-H", "127.0.0.1", "-p", str(port)], f"http://127.0.0.1:{port}", log, {})
        self.bucket = "s3://imgr/uploads"
        self.credentials = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    def wait_until_ready(self, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            try:
                httpx.put(f"{self.url}/imgr").raise_for_status()
                return self
            except httpx.TransportError:
                assert time.monotonic() < deadline, self.text()
                time.sleep(0.1)
