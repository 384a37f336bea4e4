"""``imgr serve``: Triton and the adapter in one command."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import httpx
import structlog
import uvicorn
import uvloop
from rich.console import Console

from frontend_api.allocator import keep_freed_memory
from frontend_api.connections import bounded_protocol, raise_file_limit
from frontend_api.logs import configure_logs
from frontend_api.settings import Settings
from imgr.configuration import read_settings, with_own_triton
from imgr.errors import CannotServe
from imgr.store import require_store
from imgr.triton.command import TritonPorts
from imgr.triton.output import Failures
from imgr.triton.ports import free_ports, require_free
from imgr.triton.server import running_triton

if TYPE_CHECKING:
    from fastapi import FastAPI

log = structlog.stdlib.get_logger("imgr.serve")

_REMIND_SECONDS = 15.0
_FINISH_SECONDS = 10  # for requests under way when we are told to stop
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach who listens everywhere


def serve(
    console: Console,
    *,
    host: str,
    port: int,
    triton_http_port: int | None,
    triton_metrics_port: int | None,
    model_repository: Path | None,
    ready_timeout: float,
) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotServe, RepositoryError, ExportFailed."""
    free = free_ports(3)
    port = port or free[0]
    ports = TritonPorts(triton_http_port or free[1], triton_metrics_port or free[2])
    settings = read_settings(model_repository)
    external = settings.names_triton
    if not external:
        settings = with_own_triton(settings, f"127.0.0.1:{ports.http}")
    configure_logs(settings.log_format)
    keep_freed_memory()
    require_free(host, port, "the REST API", "--port")
    require_store(settings.store)
    if not external:
        require_free("127.0.0.1", ports.http, "Triton's HTTP endpoint", "--triton-http-port")
        require_free("127.0.0.1", ports.metrics, "Triton's metrics", "--triton-metrics-port")
        if settings.sam_checkpoint_path is not None:
            from imgr.exporting import make_newest  # noqa: PLC0415 - slow, and seldom needed

            make_newest(settings.sam_checkpoint_path, settings.model_repository)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(console, settings, host, port, None if external else ports, ready_timeout))


async def _serve(
    console: Console, settings: Settings, host: str, port: int, ports: TritonPorts | None, ready_timeout: float
) -> None:
    raise_file_limit()
    failures = Failures(settings.model_repository)
    hung = asyncio.Event()

    def adapter() -> "FastAPI":
        from frontend_api.application import create_app  # noqa: PLC0415 - see below
        from frontend_api.model.supervisor import Supervisor  # noqa: PLC0415

        return create_app(settings, supervisor=None if ports is None else Supervisor(failures.current, hung.set))

    server = _Server(
        uvicorn.Config(
            adapter,
            host,
            port,
            factory=True,
            http=bounded_protocol(settings),
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_FINISH_SECONDS,
        )
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    async with contextlib.AsyncExitStack() as stack:
        triton = None
        if ports is not None:
            triton = await stack.enter_async_context(running_triton(settings.model_repository, ports, failures, hung))
            triton.add_done_callback(lambda _: server.handle_exit(signal.SIGTERM, None))
            # Triton loads its models during these slow imports.
            from imgr.repository.versions import require_models  # noqa: PLC0415

            require_models(settings.model_repository)
        announcing = await stack.enter_async_context(_announced(console, _url(host, port), ports, ready_timeout))
        announcing.add_done_callback(server.end_if_failed)
        try:
            await server.serve()
        except SystemExit as error:  # uvicorn's way of saying it could not start
            raise CannotServe("the REST API could not start; the log says why") from error
        for task in (triton, announcing):
            if task is not None and task.done():
                task.result()


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again, and end us before Triton is stopped."""

    def end_if_failed(self, task: asyncio.Task[None]) -> None:
        """Stop serving if `task` has failed."""
        if not task.cancelled() and task.exception() is not None:
            self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


def _url(host: str, port: int) -> str:
    host = _WILDCARDS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def _announced(
    console: Console, url: str, ports: TritonPorts | None, patience: float
) -> AsyncIterator[asyncio.Task[None]]:
    """Print the addresses as soon as a click can be answered; the task ends with CannotServe if none ever can."""
    task = asyncio.create_task(_announce(console, url, ports, patience))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _announce(console: Console, url: str, ports: TritonPorts | None, patience: float) -> None:
    started = reminded = monotonic()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                health = (await client.get("/health")).json()
                if health["status"] == "ok":
                    break
                if monotonic() - started > patience:
                    raise CannotServe(f"after {patience:g} seconds no click can be answered yet: {health['detail']}")
                if monotonic() - reminded > _REMIND_SECONDS:
                    reminded = monotonic()
                    log.warning("still waiting for a model", problem=health["detail"], failed=health["failed_versions"])
            await asyncio.sleep(0.1)
    model = health["model"]
    console.print(f"\n[bold green]Ready.[/] {model['variant']} ({model['precision']}), version {model['version']}")
    console.print(f"  try it          {url}/\n  REST API        {url}/docs\n  health          {url}/health")
    console.print(f"  metrics         {url}/metrics")
    if ports is not None:
        console.print(f"  Triton          http://127.0.0.1:{ports.http}")
        console.print(f"  Triton metrics  http://127.0.0.1:{ports.metrics}/metrics")
    console.print("Ctrl-C stops it.\n")
