"""What an upload and a click cost: processor time by process, bytes by hop, memory.

    uv run --group test python -m benchmarks.experiments.cost [--uploads 8] [--clicks 60] [--model vit_b]

`imgr serve` brings Triton. The adapter that is measured runs beside it and reaches Triton through a relay that counts
bytes; a third one, started afterwards on the same store, answers first clicks on photos that it has never seen.
Photos are 1800 × 1200 JPEGs. Processor time is read from the kernel by process, whatever else the machine does.
"""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import psutil
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from benchmarks.models import quickstart, vit_b
from imgr.triton.ports import free_ports

WIDTH, HEIGHT = 1800, 1200
console = Console(width=130)


class Relay(threading.Thread):
    """Passes connections on to a port of this host and counts their bytes."""

    def __init__(self, port: int, target: int) -> None:
        super().__init__(daemon=True)
        self.port, self._target = port, target
        self.sent = self.received = 0

    def run(self) -> None:
        """Relay until the process ends."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, name: str) -> None:
            with contextlib.suppress(ConnectionError):
                while piece := await source.read(1 << 18):
                    setattr(self, name, getattr(self, name) + len(piece))
                    sink.write(piece)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, inner_writer, "sent"), pump(inner_reader, writer, "received"))


@contextlib.contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m command``."""
    with log.open("w") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", *command], env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(30)


def wait_until_ready(url: str) -> None:
    """Wait until clicks can be answered."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/ready").status_code == httpx.codes.NO_CONTENT:
                return
        time.sleep(0.1)


class Processes:
    """The processes by their part, and the processor time they have used."""

    def __init__(self, adapter: int, serve: int) -> None:
        self.parts = {"adapter": psutil.Process(adapter)}
        for child in psutil.Process(serve).children(recursive=True):
            words = " ".join(child.cmdline())
            part = next((model for model in ("sam_encoder", "sam_decoder") if model in words), child.name())
            if part in ("sam_encoder", "sam_decoder", "tritonserver"):
                self.parts[part] = child

    def seconds(self) -> dict[str, float]:
        """Return processor seconds so far, by part."""
        return {part: sum(process.cpu_times()[:2]) for part, process in self.parts.items()}

    def peaks(self) -> dict[str, float]:
        """Return the most memory that each had resident, in MB."""
        lines = {part: Path(f"/proc/{process.pid}/status").read_text() for part, process in self.parts.items()}
        return {part: int(text.partition("VmHWM:")[2].split()[0]) / 1e3 for part, text in lines.items()}


class Client:
    """Uploads and clicks."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=300)
        self.received = 0
        self._lock = threading.Lock()

    def upload(self, picture: bytes) -> str:
        """Upload and wait until the embedding is stored."""
        answer = self.http.post("/api/upload/image", files={"file": ("photo.jpg", picture)}).raise_for_status()
        image_id: str = answer.json()["image_id"]
        while not self.http.get(f"/api/images/{image_id}").json()["embedding_ready"]:
            time.sleep(0.2)
        return image_id

    def click(self, image_id: str, x: float, y: float) -> None:
        """Ask for the candidates of one point."""
        fields = {"original_image_id": image_id, "points": json.dumps([{"x": x, "y": y}]), "labels": "[1]"}
        size = len(self.http.post("/api/run", data=fields).raise_for_status().content)
        with self._lock:
            self.received += size


def pictures(count: int) -> list[bytes]:
    """Return different photos as JPEG."""
    photo = np.asarray(Image.fromarray(data.coffee()).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    made = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(np.roll(photo, 40 * number, axis=1)).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made


def main(
    uploads: Annotated[int, typer.Option(help="photos")] = 8,
    clicks: Annotated[int, typer.Option(help="clicks of each kind")] = 60,
    model: Annotated[str, typer.Option(help="quickstart, or vit_b with random weights")] = "quickstart",
) -> None:
    """Print what an upload, a repeated click and a first click elsewhere cost."""
    repository = {"quickstart": quickstart, "vit_b": vit_b}[model]().repository
    table = Table(
        "", "wall ms", "adapter", "tritonserver", "sam_encoder", "sam_decoder", "to Triton", "from Triton", "to client"
    )
    photos = pictures(uploads + 1)
    points = np.random.default_rng(0).uniform((0, 0), (WIDTH, HEIGHT), (clicks, 2)).tolist()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port, http, metrics, relayed, adapter_port, other_port = free_ports(6)
        store = (folder / "store").as_uri()
        triton_ports = [f"--triton-http-port={http}", f"--triton-metrics-port={metrics}"]
        serve = stack.enter_context(
            process(
                ["imgr", "serve", f"--port={port}", *triton_ports],
                folder / "serve.log",
                IMGR_STORE=store,
                IMGR_MODEL_REPOSITORY=str(repository),
                IMGR_TRITON_TIMEOUT_SECONDS="300",
            )
        )
        relay = Relay(relayed, http)
        relay.start()

        def adapter(at: int) -> tuple[str, int]:
            command = ["uvicorn", "frontend_api.main:app", f"--port={at}"]
            settings = {"IMGR_STORE": store, "IMGR_TRITON_URL": f"127.0.0.1:{relayed}", "IMGR_MODEL_POLL_SECONDS": "60"}
            started = stack.enter_context(
                process(command, folder / f"{at}.log", IMGR_TRITON_TIMEOUT_SECONDS="300", **settings)
            )
            wait_until_ready(f"http://127.0.0.1:{at}")
            return f"http://127.0.0.1:{at}", started.pid

        wait_until_ready(f"http://127.0.0.1:{port}")
        url, pid = adapter(adapter_port)
        client, processes = Client(url), Processes(pid, serve.pid)
        warm = client.upload(photos.pop())
        for x, y in points[:3]:
            client.click(warm, x, y)

        @contextlib.contextmanager
        def measured(what: str, count: int) -> Iterator[None]:
            before, bytes_before = processes.seconds(), (relay.sent, relay.received, client.received)
            started = time.perf_counter()
            yield
            wall = time.perf_counter() - started
            spent = {part: seconds - before[part] for part, seconds in processes.seconds().items()}
            moved = [now - then for now, then in zip(
                (relay.sent, relay.received, client.received), bytes_before, strict=True)]  # fmt: skip
            table.add_row(
                what,
                f"{1e3 * wall / count:.0f}",
                *(
                    f"{1e3 * spent[part] / count:.0f}"
                    for part in ("adapter", "tritonserver", "sam_encoder", "sam_decoder")
                ),
                *(f"{each / count / 1e6:.2f}" for each in moved),
            )

        image_ids: list[str] = []
        with measured(f"{uploads} uploads, encoded", uploads):
            image_ids += [client.upload(photo) for photo in photos]
        with measured(f"{clicks} repeated clicks, one after another", clicks):
            for number, (x, y) in enumerate(points):
                client.click(image_ids[number % uploads], x, y)
        with measured(f"{clicks} repeated clicks, eight at once", clicks), ThreadPoolExecutor(8) as pool:
            chosen = [(image_ids[number % uploads], x, y) for number, (x, y) in enumerate(points)]
            list(pool.map(lambda each: client.click(*each), chosen))
        peaks = processes.peaks()

        url, pid = adapter(other_port)
        client, processes = Client(url), Processes(pid, serve.pid)
        client.click(warm, *points[0])
        with measured(f"{uploads} first clicks on another adapter", uploads):
            for image_id, (x, y) in zip(image_ids, points, strict=False):
                client.click(image_id, x, y)
        sizes = {
            kind: np.mean([path.stat().st_size for path in (folder / "store").rglob(pattern)]) / 1e6
            for kind, pattern in (("upload", "original"), ("embedding", "*.f32"))
        }
    console.print("milliseconds of processor time, and megabytes, each")
    console.print(table)
    console.print("most memory resident, MB: " + ", ".join(f"{part} {peak:.0f}" for part, peak in peaks.items()))
    console.print("in the store, MB: " + ", ".join(f"{kind} {size:.2f}" for kind, size in sizes.items()))


if __name__ == "__main__":
    typer.run(main)
