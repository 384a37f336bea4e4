"""The servers that are compared, each in a process of its own, and their client."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.machine import Processes
from benchmarks.models import Model
from benchmarks.photos import Photo
from imgr.die_with_parent import die_with_parent, parent_pipe
from imgr.triton.ports import free_ports

_READY_SECONDS = 300


@dataclass(frozen=True)
class Subject:
    """A running server.

    Attributes:
        name: ``imgr``, ``peer`` or ``baseline``.
        url: where it listens.
        triton_http, triton_metrics: ports of Triton, of `imgr serve` alone.
        processes: its process and those below.
        http: the client, which keeps its connections.
    """

    name: str
    url: str
    triton_http: int
    triton_metrics: int
    processes: Processes
    http: aiohttp.ClientSession

    async def upload(self, photo: Photo) -> str:
        """Upload a photo; return its id."""
        form = aiohttp.FormData()
        form.add_field("file", photo.jpeg, filename="photo.jpg", content_type="image/jpeg")
        path = "/predict" if self.name == "peer" else "/api/upload/image"
        async with self.http.post(self.url + path, data=form) as answer:
            answer.raise_for_status()
            return (await answer.json())["image_id"]

    async def ready(self, image_id: str, every: float = 0.025) -> None:
        """Wait until a click needs no encoder; asking often takes processor time from the encoder."""
        while self.name == "imgr":
            async with self.http.get(f"{self.url}/api/images/{image_id}") as answer:
                answer.raise_for_status()
                if (await answer.json())["embedding_ready"]:
                    return
            await asyncio.sleep(every)

    async def click(self, image_id: str, box: list[float]) -> bytes:
        """Ask for the candidates of one box; return the answer."""
        fields = {"original_image_id": image_id, "points": "[]", "labels": "[]", "box": json.dumps(box)}
        path = "/predict" if self.name == "peer" else "/api/run"
        async with self.http.post(self.url + path, data=fields) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def decoder_runs(self) -> tuple[float, float]:
        """Return how many clicks Triton's decoder has answered, and in how many batches."""
        async with self.http.get(f"http://127.0.0.1:{self.triton_metrics}/metrics") as answer:
            text = await answer.text()
        counts = []
        for counter in ("nv_inference_count", "nv_inference_exec_count"):
            values = re.findall(rf'^{counter}{{[^}}]*model="sam_decoder"[^}}]*}} (\S+)$', text, re.MULTILINE)
            counts.append(sum(map(float, values)))
        return counts[0], counts[1]


@contextlib.asynccontextmanager
async def running(name: str, model: Model) -> AsyncIterator[Subject]:
    """Run one of the servers on a free port until the context ends."""
    port, triton, metrics = free_ports(3)
    with tempfile.TemporaryDirectory() as folder, parent_pipe() as stdin:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("IMGR_", "SAM_"))}
        if name == "imgr":
            environment |= {
                "IMGR_STORE": Path(folder, "store").as_uri(),
                "IMGR_MODEL_REPOSITORY": str(model.repository),
            }
            arguments = [
                "imgr",
                "serve",
                "--port",
                port,
                "--triton-http-port",
                triton,
                "--triton-metrics-port",
                metrics,
            ]
        else:
            arguments = [f"benchmarks.{name}", model.checkpoint, port]
        log = Path(folder, "log")
        with log.open("w") as output:
            # Else LitServe would leave its workers behind.
            command = die_with_parent([sys.executable, "-m", *map(str, arguments)])
            process = subprocess.Popen(
                command, env=environment, stdin=stdin, stdout=output, stderr=output, start_new_session=True
            )
        timeout = aiohttp.ClientTimeout(total=600)
        try:
            # Shorter than the servers keep a connection: none is used that they have just closed.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
                subject = Subject(name, f"http://127.0.0.1:{port}", triton, metrics, Processes(process.pid), http)
                await _answering(subject, process, log)
                yield subject
        finally:
            process.terminate()
            process.wait(30)


async def _answering(subject: Subject, process: subprocess.Popen[bytes], log: Path) -> None:
    path = {"imgr": "/health/ready", "peer": "/health", "baseline": "/openapi.json"}[subject.name]
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with subject.http.get(subject.url + path) as answer:
                if answer.ok:
                    return
        await asyncio.sleep(0.02)
    raise SystemExit(f"{subject.name} did not start:\n{log.read_text()[-4000:]}")
