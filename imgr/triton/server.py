"""A tritonserver of our own: started, watched, restarted, stopped."""

import asyncio
import contextlib
import ctypes
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import structlog

from imgr.triton.installation import Installation, install

log = structlog.stdlib.get_logger("triton")

_STOP_SECONDS = 10
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STABLE_SECONDS = 60.0  # a server that lived this long starts anew without a pause
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded before any fork


@dataclass(frozen=True, slots=True)
class TritonPorts:
    """Ports of a tritonserver on the loopback interface."""

    http: int
    metrics: int


@contextlib.asynccontextmanager
async def running_triton(repository: Path, ports: TritonPorts) -> AsyncIterator[None]:
    """Keep a tritonserver serving `repository` on 127.0.0.1 while the context is open.

    It polls the repository, is restarted when it dies, and never outlives this process. Enter from the main
    thread: the signal that ends an orphan follows the thread that started it. Raises CannotServe.
    """
    with tempfile.TemporaryDirectory(prefix="imgr-triton-") as workspace:
        installation = install(Path(workspace))
        shared_memory = Path(workspace).name
        command = _command(installation, repository, ports, shared_memory)
        supervisor = asyncio.create_task(_supervise(command, os.environ | installation.environment, shared_memory))
        try:
            yield
        finally:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)


def _command(installation: Installation, repository: Path, ports: TritonPorts, shared_memory: str) -> list[str]:
    command = [
        str(installation.executable),
        f"--model-repository={repository.resolve()}",
        "--model-control-mode=poll",
        "--repository-poll-secs=1",
        # A model that can't be loaded must not keep the others from serving; the adapter decides.
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=5",
        "--http-address=127.0.0.1",
        f"--http-port={ports.http}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.metrics}",
        "--allow-grpc=false",
        "--log-info=false",
    ]
    if not Path("/dev/nvidiactl").exists():
        # Without a GPU these only fill the log with what is not there.
        command += ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
    if installation.backends is not None:
        command += [
            f"--backend-directory={installation.backends}",
            # Known names, so that what a killed server leaves in /dev/shm can be removed.
            f"--backend-config=python,shm-region-prefix-name={shared_memory}",
        ]
    return command


async def _supervise(command: list[str], environment: dict[str, str], shared_memory: str) -> None:
    pause = 0.0
    while True:
        started = monotonic()
        code = await _run(command, environment, shared_memory)
        pause = (
            _FIRST_PAUSE if monotonic() - started > _STABLE_SECONDS else min(2 * pause or _FIRST_PAUSE, _LONGEST_PAUSE)
        )
        log.error("tritonserver ended; restarting", exit_code=code, pause_seconds=pause)
        await asyncio.sleep(pause)


async def _run(command: list[str], environment: dict[str, str], shared_memory: str) -> int:
    """Run tritonserver until it ends or this task is cancelled; leave nothing of it behind."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    log.info("tritonserver started", pid=process.pid)
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in process.stdout:
            _relay(line.decode(errors="replace").rstrip())
        return await process.wait()
    finally:
        await _stop(process)
        _remove_shared_memory(shared_memory)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End tritonserver gracefully if it still runs, then whatever is left of its process group."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _remove_shared_memory(prefix: str) -> None:
    for leftover in Path("/dev/shm").glob(f"{prefix}*"):  # noqa: S108
        leftover.unlink(missing_ok=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _relay(line: str) -> None:
    """Pass a line of Triton's log on at its level; Triton starts each with I, W or E and the date."""
    level = {"E": log.error, "W": log.warning}.get(line[:1] if line[1:5].isdigit() else "", log.info)
    level(line.partition("] ")[2].strip('"') if line[1:5].isdigit() else line)
