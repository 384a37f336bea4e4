"""A repeated click over HTTP against the least work that gives the same three candidates, in one run.

    uv run --group test python -m benchmarks.click [--clicks 40] [--repository model_repository] [--photo PHOTO]

The least work is the same decoder in ONNX Runtime in this process, then upsampling, refinement and PNG encoding of
its three masks in one thread a core. Both answer the same prompts on the same 1800 × 1200 photo, turn by turn.
"""

import contextlib
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import cv2
import httpx
import numpy as np
import onnxruntime
import typer
from PIL import Image
from pybase64 import b64encode
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage import data

from frontend_api.images.preprocessing import model_size, to_model_frame
from frontend_api.images.prompts import Prompt, to_model_prompt
from frontend_api.masks.candidates import render
from frontend_api.masks.feathering import FeatherMethod

CORES = len(os.sched_getaffinity(0))
console = Console()


class Floor:
    """The decoder and the rendering, without a service around them."""

    def __init__(self, version: Path, image: np.ndarray) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = CORES
        models = version.parents[1]
        encoder = onnxruntime.InferenceSession(models / "sam_encoder" / version.name / "model.onnx", options)
        self.decoder = onnxruntime.InferenceSession(models / "sam_decoder" / version.name / "model.onnx", options)
        self.image = image
        size = np.array([model_size(*image.shape[:2])], np.int32)
        feeds = {"image": to_model_frame(image)[None], "image_size": size}
        self.embedding = encoder.run(["image_embeddings"], feeds)[0]
        self.pool = ThreadPoolExecutor(CORES)
        cv2.setNumThreads(1)

    def click(self, x: float, y: float) -> None:
        """Decode one point and render its candidates."""
        prompt = to_model_prompt(Prompt(np.array([[x, y]]), np.array([1], np.int32)), *self.image.shape[:2])
        feeds = {
            "image_embeddings": self.embedding,
            "point_coords": prompt.point_coords[None],
            "point_labels": prompt.point_labels[None],
            "mask_input": prompt.mask_input[None],
            "has_mask_input": prompt.has_mask_input[None],
        }
        logits = self.decoder.run(["low_res_masks", "iou_predictions"], feeds)[0][0]
        list(self.pool.map(self._render, logits))

    def _render(self, logits: np.ndarray) -> None:
        candidate = render(self.image, logits, method=FeatherMethod.EASE_OUT_POWER, width=10)
        b64encode(candidate.mask_png)
        b64encode(candidate.cutout_png)


class Service:
    """`imgr serve`, asked over one kept connection."""

    def __init__(self, url: str, image: np.ndarray) -> None:
        self.http = httpx.Client(base_url=url, timeout=120)
        picture = io.BytesIO()
        Image.fromarray(image).save(picture, "PNG")
        answer = self.http.post("/api/upload/image", files={"file": ("photo.png", picture.getvalue())})
        self.image_id = answer.raise_for_status().json()["image_id"]

    def click(self, x: float, y: float) -> None:
        """Ask for the candidates of one point."""
        fields = {"original_image_id": self.image_id, "points": json.dumps([{"x": x, "y": y}]), "labels": "[1]"}
        self.http.post("/api/run", data=fields).raise_for_status()

    def stages(self) -> dict[str, tuple[float, int]]:
        """Return seconds and count by stage since the service began."""
        text = self.http.get("/metrics").text
        values = re.findall(r'^imgr_stage_duration_seconds_(sum|count){stage="(\w+)"} (\S+)$', text, re.MULTILINE)
        found = {(stage, kind): float(value) for kind, stage, value in values}
        return {stage: (found[stage, "sum"], int(found[stage, "count"])) for stage, kind in found if kind == "sum"}


@contextlib.contextmanager
def served(repository: Path) -> Iterator[str]:
    """Run `imgr serve` on a free port and a store of its own; yield its address once it answers clicks."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        store = Path(folder, "store").as_uri()
        environment = os.environ | {"IMGR_STORE": store, "IMGR_MODEL_REPOSITORY": str(repository)}
        with Path(folder, "log").open("w") as log:
            command = [sys.executable, "-m", "imgr", "serve", "--port", str(port)]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == httpx.codes.NO_CONTENT:
                        break
                time.sleep(0.1)
            else:
                raise SystemExit(Path(folder, "log").read_text())
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def main(
    clicks: Annotated[int, typer.Option(help="clicks of each kind")] = 40,
    repository: Annotated[Path, typer.Option(help="model repository")] = Path("model_repository"),
    photo: Annotated[Path | None, typer.Option(help="another photo than scikit-image's coffee")] = None,
) -> None:
    """Print both, their ratio, and where the service's time went."""
    picture = Image.open(photo).convert("RGB") if photo else Image.fromarray(data.coffee())
    image = np.asarray(picture.resize((1800, 1200), Image.Resampling.BICUBIC))
    versions = (int(folder.name) for folder in (repository / "sam_decoder").iterdir() if folder.name.isdecimal())
    version = repository / "sam_decoder" / str(max(versions))
    points = np.random.default_rng(0).uniform((0, 0), (1800, 1200), (clicks, 2)).tolist()
    with served(repository) as url:
        floor, service = Floor(version, image), Service(url, image)
        for x, y in points[:3]:  # warm both up
            service.click(x, y)
            floor.click(x, y)
        before = service.stages()
        times: dict[str, list[float]] = {"service": [], "floor": []}
        for x, y in track(points, "clicking", console=console):
            for name, subject in (("service", service), ("floor", floor)):
                started = time.perf_counter()
                subject.click(x, y)
                times[name].append(1e3 * (time.perf_counter() - started))
        after = service.stages()

    table = Table("", "p50 ms", "p95 ms", "min ms", "max ms", title=f"{clicks} repeated clicks, {CORES} cores")
    for name, values in times.items():
        p50, p95 = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        table.add_row(name, *(f"{value:.1f}" for value in (p50, p95, min(values), max(values))))
    console.print(table)
    ratios = [ours / least for ours, least in zip(times["service"], times["floor"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    console.print(
        f"service / floor, click by click: median {quartiles[1]:.2f}, quartiles {quartiles[0]:.2f}–{quartiles[2]:.2f}"
    )
    table = Table("stage", "ms a click", "times a click", title="the service's own stages (they overlap)")
    for stage, (seconds, count) in after.items():
        if count > before[stage][1]:
            spent, times_ = seconds - before[stage][0], count - before[stage][1]
            table.add_row(stage, f"{1e3 * spent / clicks:.1f}", f"{times_ / clicks:.1f}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
