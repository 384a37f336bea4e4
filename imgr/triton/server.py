"""A tritonserver of our own: started, watched, restarted, stopped."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NoReturn

import structlog

from imgr.die_with_parent import die_with_parent, parent_pipe
from imgr.errors import CannotServe
from imgr.triton.command import TritonPorts, tritonserver_command
from imgr.triton.installation import gpu_present, install
from imgr.triton.output import Failures, TritonOutput
from imgr.triton.workspace import announce, remove_shared_memory, workspace

log = structlog.stdlib.get_logger("triton")

_STOP_SECONDS = 10
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STABLE_SECONDS = 60.0  # a server that lived this long has earned the shortest pause
_CHILD_SECONDS = 1.0
_LONGEST_LINE = 2**20


@contextlib.asynccontextmanager
async def running_triton(
    repository: Path, ports: TritonPorts, failures: Failures, hung: asyncio.Event | None = None
) -> AsyncIterator[asyncio.Task[NoReturn]]:
    """Keep a tritonserver serving `repository` on 127.0.0.1 while the context is open.

    It polls the repository, is restarted on the same ports when it dies, and never outlives this process. It is
    started before the context is entered; whether it answers is for the caller to ask.

    Args:
        repository: Triton's model repository.
        ports: where it listens.
        failures: where what it can't load is noted.
        hung: set by whoever notices that it hangs; it is then killed and started anew.

    Yields:
        The task that watches it. It ends only by raising CannotServe, if the first start fails.

    Raises:
        CannotServe: if something it needs is missing.
    """
    with workspace() as folder, parent_pipe() as stdin:
        installation = install(folder)
        command = tritonserver_command(installation, repository, ports, shared_memory=folder.name, gpu=gpu_present())
        announce(folder, repository, ports.http)
        launch = _Launch(command, os.environ | installation.environment, folder, stdin)
        supervisor = asyncio.create_task(_supervise(launch, await launch.start(), failures, hung or asyncio.Event()))
        await asyncio.sleep(0)  # let it begin: a task cancelled before that would not end the process
        try:
            yield supervisor
        finally:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Launch:
    command: list[str]
    environment: dict[str, str]
    folder: Path
    stdin: int

    async def start(self) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                *die_with_parent(self.command),
                env=self.environment,
                stdin=self.stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the whole group
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise CannotServe(f"{self.command[0]} cannot be started: {error.strerror}") from error
        log.info("tritonserver started", pid=process.pid)
        return process


async def _supervise(
    launch: _Launch, process: asyncio.subprocess.Process, failures: Failures, hung: asyncio.Event
) -> NoReturn:
    """Restart tritonserver whenever it ends, ever less eagerly while it keeps ending soon."""
    pause, first = 0.0, True
    while True:
        started = monotonic()
        output = TritonOutput(failures)
        end = _described(await _watch(process, output, launch.folder, hung))
        if first and not output.listening:
            raise CannotServe(f"tritonserver {end} before it could serve; it said: {output.last_words or 'nothing'}")
        first = False
        pause = next_pause(pause, lived=monotonic() - started)
        log.error(f"tritonserver {end}; restarting", pause_seconds=pause)
        await asyncio.sleep(pause)
        process = await launch.start()


def next_pause(previous: float, lived: float) -> float:
    """Return the seconds to wait before the next start; `previous` is 0 before the first restart."""
    if previous == 0 or lived > _STABLE_SECONDS:
        return _FIRST_PAUSE
    return min(2 * previous, _LONGEST_PAUSE)


async def _watch(process: asyncio.subprocess.Process, output: TritonOutput, folder: Path, hung: asyncio.Event) -> int:
    """Follow tritonserver until it ends or this task is cancelled; leave nothing of it behind."""
    enders = [asyncio.create_task(work) for work in (_end_with_child(process), _end_when_hung(process, output, hung))]
    relay = asyncio.create_task(_relay(process, output))
    try:
        # Not the end of its output: the models' processes share that, and may hang on when tritonserver is killed.
        return await process.wait()
    finally:
        for ender in enders:
            ender.cancel()
        await _stop(process)
        await asyncio.gather(*enders, relay, return_exceptions=True)
        remove_shared_memory(folder)


async def _relay(process: asyncio.subprocess.Process, output: TritonOutput) -> None:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # a line longer than the limit, which has been dropped
            continue
        if not line:
            return
        output.take(line.decode(errors="replace").rstrip())


async def _end_with_child(process: asyncio.subprocess.Process) -> None:
    """Kill tritonserver once a model's process has died: it would never replace it, and call the model ready."""
    dead: set[int] = set()
    while True:
        await asyncio.sleep(_CHILD_SECONDS)
        # In a thread: it reads a hundred small files, and under load waits for the interpreter's lock after each.
        found = await asyncio.to_thread(dead_children, process.pid)
        if still_dead := found & dead:  # Triton reaps within moments those it ends itself
            log.error("the process of a model died; ending tritonserver to start anew", pids=sorted(still_dead))
            process.kill()
            return
        dead = found


async def _end_when_hung(process: asyncio.subprocess.Process, output: TritonOutput, hung: asyncio.Event) -> None:
    """Kill tritonserver once somebody has found that it hangs, unless it is only just starting."""
    hung.clear()
    while True:
        await hung.wait()
        hung.clear()
        if output.listening:
            log.error("tritonserver or the process of a model hangs; ending it to start anew")
            process.kill()
            return


def dead_children(pid: int) -> set[int]:
    """Return the children of a process that have ended and that it has not waited for."""
    threads = Path(f"/proc/{pid}/task").glob("*")
    children = {child for thread in threads for child in _read(thread / "children").split()}
    states = {child: _read(Path(f"/proc/{child}/stat")).rpartition(")")[2].split() for child in children}
    return {int(child) for child, state in states.items() if state[:1] == ["Z"]}


def _read(path: Path) -> str:
    """Return what a file of /proc says, nothing if its process or thread is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


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


def _described(code: int) -> str:
    return f"ended with status {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
