"""A tritonserver under the launcher's supervision, in a process of its own that a test may kill.

``python -m tests.support.triton REPOSITORY HTTP_PORT METRICS_PORT MODE`` runs one until SIGTERM; MODE is Triton's model
control mode, which the launcher always sets to poll.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from imgr.triton import server
from imgr.triton.command import TritonPorts, tritonserver_command
from imgr.triton.output import Failures
from imgr.triton.ports import free_ports


class Triton:
    """A supervised tritonserver; it ends with the test."""

    def __init__(self, repository: Path, log: Path, mode="poll", **environment):
        self.port, metrics = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self.log = log
        self.http = httpx.Client(base_url=f"http://{self.address}", trust_env=False, timeout=30)
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        with log.open("ab") as output:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "tests.support.triton", str(repository), str(self.port), str(metrics), mode],
                stdout=output,
                stderr=output,
                env=os.environ | environment,
            )

    def wait_until_ready(self, *models, seconds=60):
        deadline = time.monotonic() + seconds
        while not all(self.is_ready(model) for model in models):
            assert self.supervisor.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return self

    def is_ready(self, model):
        try:
            return self.http.get(f"/v2/models/{model}/ready").status_code == 200
        except httpx.TransportError:
            return False

    def infer(self, model, rows, index=None, outputs=("doubled", "picked", "batch"), **parameters):
        """Ask a tiny model; `rows` are lists of four numbers."""
        index = [[0]] * len(rows) if index is None else index
        return self.http.post(
            f"/v2/models/{model}/infer",
            json={
                "inputs": [
                    {"name": "x", "datatype": "FP32", "shape": [len(rows), 4], "data": rows},
                    {"name": "index", "datatype": "INT64", "shape": [len(rows), 1], "data": index},
                ],
                "outputs": [{"name": name} for name in outputs],
                "parameters": parameters,
            },
        )

    def index(self):
        """Return {(model, version): (state, reason)}."""
        entries = self.http.post("/v2/repository/index").json()
        return {
            (entry["name"], entry.get("version")): (entry.get("state"), entry.get("reason", "")) for entry in entries
        }

    def counter(self, name, model):
        text = httpx.get(self.metrics, trust_env=False).text
        return sum(map(float, re.findall(rf'^{name}{{model="{model}"[^}}]*}} (\S+)$', text, re.MULTILINE)))

    def text(self):
        return self.log.read_text(errors="replace")[-8000:]

    def stop(self):
        self.http.close()
        self.supervisor.terminate()
        try:
            return self.supervisor.wait(30)
        finally:
            self.supervisor.kill()
            self.supervisor.wait()


def _command(mode):
    def command(*args, **kwargs):
        polling = tritonserver_command(*args, **kwargs)
        if mode == "poll":
            return polling
        others = [argument for argument in polling if not argument.startswith(("--model-control", "--repository-poll"))]
        return [*others, f"--model-control-mode={mode}", *(["--load-model=*"] if mode == "explicit" else [])]

    return command


async def _run(repository: Path, ports: TritonPorts) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with server.running_triton(repository, ports, Failures(repository)) as supervisor:
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({supervisor, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if supervisor.done():
            supervisor.result()


if __name__ == "__main__":
    server.tritonserver_command = _command(sys.argv[4])
    asyncio.run(_run(Path(sys.argv[1]), TritonPorts(int(sys.argv[2]), int(sys.argv[3]))))
