"""``imgr serve``: Triton and the adapter in one command."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import httpx
import structlog
import uvicorn
import uvloop
from pydantic import ValidationError
from rich.console import Console

from export.publication import find_published, republish
from frontend_api.application import create_app
from frontend_api.logs import configure_logs
from frontend_api.settings import Settings
from imgr.errors import CannotServe
from imgr.exporting import export_with_progress
from imgr.repository import list_versions
from imgr.triton.command import TritonPorts
from imgr.triton.ports import free_port, require_free
from imgr.triton.server import running_triton

log = structlog.stdlib.get_logger("imgr.serve")

_REMIND_SECONDS = 15.0


def serve(
    console: Console,
    *,
    host: str,
    port: int,
    triton_http_port: int | None,
    triton_metrics_port: int | None,
    model_repository: Path | None,
) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotServe, ExportError."""
    changes: dict[str, object] = {} if model_repository is None else {"model_repository": model_repository}
    external = "IMGR_TRITON_URL" in os.environ
    ports = TritonPorts(triton_http_port or free_port(), triton_metrics_port or free_port())
    if not external:
        changes["triton_url"] = f"127.0.0.1:{ports.http}"
    try:
        settings = Settings.model_validate(changes)
    except ValidationError as error:
        problem = error.errors()[0]
        raise CannotServe(f"IMGR_{str(problem['loc'][0]).upper()}: {problem['msg']}") from error
    require_free(host, port, "the REST API", "--port")
    configure_logs(settings.log_format)
    if not external:
        require_free("127.0.0.1", ports.http, "Triton's HTTP endpoint", "--triton-http-port")
        require_free("127.0.0.1", ports.metrics, "Triton's metrics", "--triton-metrics-port")
        _prepare_models(console, settings.model_repository)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(console, settings, host, port, None if external else ports))


def _prepare_models(console: Console, repository: Path) -> None:
    """Make the checkpoint in SAM_CHECKPOINT_PATH the newest version, if one is named."""
    if path := os.environ.get("SAM_CHECKPOINT_PATH"):
        checkpoint = Path(path)
        if not checkpoint.is_file():
            raise CannotServe(f"SAM_CHECKPOINT_PATH names {path}, which is no file; `imgr download vit_b` fetches one")
        published = find_published(checkpoint, repository)
        if published is None:
            export_with_progress(console, checkpoint, repository)
        elif published.version != max(version.number for version in list_versions(repository)):
            republish(published.version, repository)
    if not any(version.problem is None for version in list_versions(repository)):
        raise CannotServe(
            f"{repository} holds no model that can be served; "
            "give a checkpoint: SAM_CHECKPOINT_PATH=models/sam_vit_b_01ec64.pth uv run --extra export imgr serve"
        )


async def _serve(console: Console, settings: Settings, host: str, port: int, ports: TritonPorts | None) -> None:
    config = uvicorn.Config(create_app(settings), host, port, log_config=None, server_header=False)
    server = _Server(config)
    async with contextlib.AsyncExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
        if ports is not None:
            await stack.enter_async_context(running_triton(settings.model_repository, ports))
        await stack.enter_async_context(_announced(console, f"http://{host}:{port}", ports))
        await server.serve()


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again, and end us before Triton is stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


@contextlib.asynccontextmanager
async def _announced(console: Console, url: str, ports: TritonPorts | None) -> AsyncIterator[None]:
    """Print the addresses as soon as a click can be answered."""
    task = asyncio.create_task(_announce(console, url, ports))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _announce(console: Console, url: str, ports: TritonPorts | None) -> None:
    reminded = monotonic()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                health = (await client.get("/health")).json()
                if health["status"] == "ok":
                    break
                if monotonic() - reminded > _REMIND_SECONDS:
                    reminded = monotonic()
                    log.warning("still waiting for a model", problem=health["detail"], failed=health["failed_versions"])
            await asyncio.sleep(0.1)
    model = health["model"]
    console.print(f"\n[bold green]Ready.[/] {model['variant']} ({model['precision']}), version {model['version']}")
    console.print(f"  try it          {url}/\n  REST API        {url}/docs\n  health          {url}/health")
    console.print(f"  metrics         {url}/metrics")
    if ports is not None:
        console.print(f"  Triton metrics  http://127.0.0.1:{ports.metrics}/metrics")
    console.print("Ctrl-C stops it.\n")
