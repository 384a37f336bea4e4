"""Clicks made slow on purpose in three ways, and what the dashboard shows of each.

    uv run --group test python -m benchmarks.experiments.slow_clicks [--seconds 40] [--repository model_repository]

Runs `imgr serve` and Prometheus with the shipped configuration, and asks it what the dashboard's panels ask. Two people
upload photos and click on them throughout, each taking 0.7 s between clicks; four of five clicks are on an image that
has been encoded. Then

- slow encoder: the encoder's process is halted nine tenths of the time;
- full queue: 90 more clients click at once, again and again;
- cold cache: the embeddings are deleted, the service is started anew, and people click on images uploaded before.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Annotated

import httpx
import numpy as np
import psutil
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from imgr.triton.ports import free_ports

DEPLOY = Path(__file__).parents[2] / "deploy"
REST, METRICS, PROMETHEUS = free_ports(3)
IMAGES = 40
Worker = Callable[[httpx.Client, threading.Event], None]
uploaded: list[str] = []


@contextlib.contextmanager
def running(*command: str, ready: str, **environment: str) -> Iterator[int]:
    """Run a server until the context ends; yield its process id once `ready` answers."""
    with subprocess.Popen(command, env=os.environ | environment, stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            while not answers(ready):
                if process.poll() is not None:
                    sys.exit(f"{command[0]} ended with {process.returncode}")
                time.sleep(0.2)
            yield process.pid
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Tell whether a GET of `url` succeeds."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def serving(repository: Path, store: Path) -> contextlib.AbstractContextManager[int]:
    """Run `imgr serve`."""
    return running(
        sys.executable, "-m", "imgr", "serve", f"--port={REST}", f"--triton-metrics-port={METRICS}",
        ready=f"http://127.0.0.1:{REST}/health/ready",
        IMGR_STORE=store.as_uri(), IMGR_MODEL_REPOSITORY=str(repository),
    )  # fmt: skip


def watching(folder: Path) -> contextlib.AbstractContextManager[int]:
    """Run Prometheus with the shipped configuration, but for where its targets are."""
    shutil.copytree(DEPLOY / "prometheus", folder / "etc")
    configuration = folder / "etc" / "prometheus.yml"
    text = configuration.read_text().replace("api:8000", f"127.0.0.1:{REST}")
    configuration.write_text(text.replace("triton:8002", f"127.0.0.1:{METRICS}"))
    return running(
        "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder}/data", "--log.level=error",
        f"--web.listen-address=127.0.0.1:{PROMETHEUS}", ready=f"http://127.0.0.1:{PROMETHEUS}/-/ready",
    )  # fmt: skip


def photo() -> bytes:
    """Return a JPEG of 1200 × 900 that differs from every other."""
    noise = np.random.default_rng().integers(0, 26, (512, 512, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut() // 10 * 9 + noise).resize((1200, 900)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def upload(client: httpx.Client) -> str:
    """Upload a photo and return its id."""
    return str(client.post("/api/upload/image", files={"file": ("a.jpg", photo())}).json()["image_id"])


def click(client: httpx.Client, image_id: str) -> bool:
    """Click anywhere; tell whether it was answered with candidates."""
    point = {"x": random.randint(100, 1100), "y": random.randint(100, 800)}
    prompt = {"original_image_id": image_id, "points": json.dumps([point]), "labels": "[1]"}
    return client.post("/api/run", data=prompt).is_success


def visitor(client: httpx.Client, over: threading.Event) -> None:
    """Upload a photo, click on it five times, click once on an older one; again and again."""
    while not over.is_set():
        image_id = upload(client)
        for image in [*[image_id] * 5, random.choice(uploaded)]:
            if not over.is_set():
                click(client, image)
                over.wait(0.7)


def returner(client: httpx.Client, over: threading.Event) -> None:
    """Click on images uploaded before."""
    while not over.wait(0.7):
        click(client, random.choice(uploaded))


def crowd(client: httpx.Client, over: threading.Event) -> None:
    """Click on one image without pause, but for half a second when refused."""
    while not over.is_set():
        if not click(client, uploaded[-1]):
            over.wait(0.5)


def halting(serve: int) -> Worker:
    """Return a worker that halts the encoder's process for nine tenths of the time."""
    family = psutil.Process(serve).children(recursive=True)
    (encoder,) = (process for process in family if "sam_encoder" in " ".join(process.cmdline()))

    def halt(_: httpx.Client, over: threading.Event) -> None:
        while not over.is_set():
            encoder.send_signal(signal.SIGSTOP)
            time.sleep(0.45)
            encoder.send_signal(signal.SIGCONT)
            time.sleep(0.05)

    return halt


def seen(seconds: float, *workers: Worker) -> dict[tuple[str, str], float]:
    """Let `workers` work; return what the dashboard shows after `seconds`, by panel and legend."""
    over = threading.Event()

    def work(worker: Worker) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{REST}", timeout=120) as client:
            worker(client, over)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    values = dashboard()
    over.set()
    for thread in threads:
        thread.join()
    return values


def dashboard() -> dict[tuple[str, str], float]:
    """Ask Prometheus what the dashboard's graphs ask, over the last 20 seconds."""
    values = {}
    for panel in json.loads((DEPLOY / "grafana" / "dashboards" / "imgr.json").read_text())["panels"]:
        for target in panel.get("targets", []) if panel["type"] == "timeseries" else []:
            query = {"query": target["expr"].replace("$__rate_interval", "20s")}
            answer = httpx.get(f"http://127.0.0.1:{PROMETHEUS}/api/v1/query", params=query).json()
            for sample in answer["data"]["result"]:
                legend = re.sub(r"{{(\w+)}}", lambda name, of=sample["metric"]: of[name[1]], target["legendFormat"])
                values[panel["title"], legend] = float(sample["value"][1])
    return values


def main(
    seconds: Annotated[float, typer.Option(help="how long each cause lasts")] = 40,
    repository: Annotated[Path, typer.Option(help="model repository to serve")] = Path("model_repository"),
) -> None:
    """Print what the dashboard shows of each cause."""
    shown = {}
    with tempfile.TemporaryDirectory(prefix="imgr-slow-clicks-") as name, watching(Path(name)):
        store = Path(name) / "store"
        with serving(repository, store) as serve:
            with httpx.Client(base_url=f"http://127.0.0.1:{REST}", timeout=120) as client:
                uploaded.extend(upload(client) for _ in range(IMAGES))
                while not client.get(f"/api/images/{uploaded[-1]}").json()["embedding_ready"]:
                    time.sleep(0.5)
            shown["as ever"] = seen(seconds, visitor, visitor)
            shown["slow encoder"] = seen(seconds, visitor, visitor, halting(serve))
            seen(15, visitor, visitor)
            shown["full queue"] = seen(seconds, visitor, visitor, *[crowd] * 90)
        for embeddings in store.glob("images/*/embeddings"):
            shutil.rmtree(embeddings)
        with serving(repository, store):
            shown["cold cache"] = seen(seconds / 2, returner, returner)  # before everything is encoded again
    table = Table("panel", "line", *shown, title=f"{len(os.sched_getaffinity(0))} cores")
    for row in dict.fromkeys(row for values in shown.values() for row in values):
        table.add_row(*row, *(f"{values[row]:.3g}" if row in values else "–" for values in shown.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    typer.run(main)
