"""`imgr serve` as a subprocess, as a person would start it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server started from the command line. It ends with the test."""

    def __init__(self, arguments, url, log: Path, environment, prefix=()):
        self.url = url
        self.log = log
        environment = {k: v for k, v in os.environ.items() if not k.startswith("IMGR_")} | environment
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", *arguments], stdout=output, stderr=output, env=environment
            )

    @property
    def pid(self):
        return self.process.pid

    def wait_until_ready(self, seconds=120):
        return self.wait_until("/health/ready", seconds)

    def wait_until(self, path, seconds=120):
        deadline = time.monotonic() + seconds
        while True:
            try:
                if httpx.get(f"{self.url}{path}").status_code == 204:
                    return self
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text()}"
            assert time.monotonic() < deadline, f"not ready after {seconds} s:\n{self.text()}"
            time.sleep(0.1)

    def text(self):
        return self.log.read_text(errors="replace")[-8000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Service(Process):
    """`imgr serve` with its own Triton."""

    def __init__(self, repository: Path, store: Path, log: Path, prefix=(), **settings):
        port, self.triton_port, self.metrics_port = free_port(), free_port(), free_port()
        super().__init__(
            [
                "imgr", "serve", "--port", str(port),
                "--triton-http-port", str(self.triton_port),
                "--triton-metrics-port", str(self.metrics_port),
            ],
            f"http://127.0.0.1:{port}",
            log,
            {"IMGR_MODEL_REPOSITORY": str(repository), "IMGR_STORE": store.as_uri()}
            | {f"IMGR_{name.upper()}": str(value) for name, value in settings.items()},
            prefix,
        )  # fmt: skip

    def triton_counter(self, name, model):
        """Return a counter of Triton's own, summed over versions."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        lines = re.findall(rf'^{name}{{[^}}]*model="{model}"[^}}]*}} (\S+)$', text, re.MULTILINE)
        return sum(map(float, lines))


class Adapter(Process):
    """The adapter alone, against somebody else's Tritons.

    Args:
        tritons: their ports.
        store: URL of the object store.
        credentials: environment variables for the store.
    """

    def __init__(self, tritons, store: str, log: Path, credentials=None, **settings):
        port = free_port()
        super().__init__(
            [
                "uvicorn",
                "frontend_api.main:app",
                "--http",
                "frontend_api.main:protocol",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            f"http://127.0.0.1:{port}",
            log,
            {"IMGR_TRITON_URL": ",".join(f"127.0.0.1:{port}" for port in tritons), "IMGR_STORE": store}
            | (credentials or {})
            | {f"IMGR_{name.upper()}": str(value) for name, value in settings.items()},
        )  # fmt: skip
