import asyncio
import os
from pathlib import Path

import pytest

from imgr.errors import CannotServe
from imgr.triton import server
from imgr.triton.command import TritonPorts
from imgr.triton.output import Failures
from imgr.triton.server import next_pause, running_triton
from tests.unit.imgr.conftest import LISTENS, SERVES

PORTS = TritonPorts(http=1, metrics=2)


def running(pid):
    """Tell whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a process can't set an event
            await asyncio.sleep(0.01)


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(server, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(server, "_STOP_SECONDS", 0.2)


async def test_a_server_that_ends_before_it_listens_is_an_error_in_its_own_words(fake_triton, tmp_path):
    fake_triton.behave('say("something goes well"); say("the port is taken", "E"); sys.exit(3)')
    with pytest.raises(CannotServe, match="ended with status 3 before it could serve; it said: the port is taken"):
        async with running_triton(tmp_path, PORTS, Failures(tmp_path)) as supervisor:
            await supervisor
    assert len(fake_triton.starts) == 1


async def test_what_the_loader_says_of_a_missing_library_is_told(fake_triton, tmp_path):
    fake_triton.behave('print("error while loading shared libraries: libx.so", file=sys.stderr); sys.exit(127)')
    with pytest.raises(CannotServe, match=r"error while loading shared libraries: libx\.so"):
        async with running_triton(tmp_path, PORTS, Failures(tmp_path)) as supervisor:
            await supervisor


async def test_a_server_that_dies_while_serving_is_started_again_with_the_same_arguments(
    fake_triton, tmp_path, short_pauses
):
    fake_triton.behave(f"if starts < 3:\n    {LISTENS}    os.kill(os.getpid(), signal.SIGKILL)\n{SERVES}")
    async with running_triton(tmp_path, PORTS, Failures(tmp_path)):
        await until(lambda: len(fake_triton.starts) == 3)
    assert fake_triton.starts[0] == fake_triton.starts[2]
    assert not any(running(pid) for pid in fake_triton.pids)


def test_pauses_grow_while_a_server_keeps_dying_and_shrink_after_one_that_lived():
    pauses = [0.0]
    for lived in (100, 1, 1, 1, 1, 1, 1, 1, 1, 100, 1):
        pauses.append(next_pause(pauses[-1], lived))
    assert pauses[1:] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 0.5, 1]


async def test_a_server_that_ignores_sigterm_is_killed_with_its_children(fake_triton, tmp_path, short_pauses):
    fake_triton.behave(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    async with running_triton(tmp_path, PORTS, Failures(tmp_path)):
        await until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    child = int((tmp_path / "child").read_text())
    await until(lambda: not running(child))
    assert not running(fake_triton.pids[0])


async def test_the_shared_memory_of_a_server_that_died_is_removed(fake_triton, tmp_path, short_pauses, monkeypatch):
    removed = []
    monkeypatch.setattr(server, "remove_shared_memory", removed.append)
    fake_triton.behave(f"if starts == 1:\n    {LISTENS}    sys.exit(1)\n{SERVES}")
    async with running_triton(tmp_path, PORTS, Failures(tmp_path)):
        await until(lambda: len(fake_triton.starts) == 2)
        assert len(removed) == 1


async def test_a_server_that_stops_when_asked_is_not_killed(fake_triton, tmp_path):
    fake_triton.behave(
        f"def end(*_):\n    open({str(tmp_path / 'ended')!r}, 'w').close()\n    sys.exit(0)\n"
        f"signal.signal(signal.SIGTERM, end)\n{SERVES}"
    )
    async with running_triton(tmp_path, PORTS, Failures(tmp_path)):
        await until(lambda: fake_triton.starts)
        await asyncio.sleep(0.2)
    assert (tmp_path / "ended").exists()


async def test_leaving_at_once_leaves_no_process(fake_triton, tmp_path):
    fake_triton.behave(SERVES)
    async with running_triton(tmp_path, PORTS, Failures(tmp_path)):
        pass
    assert not any(running(pid) for pid in fake_triton.pids)


async def test_an_overlong_line_of_its_log_does_no_harm(fake_triton, tmp_path):
    fake_triton.behave(f'print("x" * 3_000_000, flush=True)\n{LISTENS}say("all is lost", "E")\n{SERVES}')
    async with running_triton(tmp_path, PORTS, Failures(tmp_path)) as supervisor:
        await until(lambda: fake_triton.starts)
        await asyncio.sleep(0.3)
        assert not supervisor.done()
        assert running(fake_triton.pids[0])


async def test_a_binary_that_cannot_run_is_told(fake_triton, tmp_path, monkeypatch):
    fake_triton.behave("")
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(CannotServe, match="cannot be started"):
        async with running_triton(tmp_path, PORTS, Failures(tmp_path)):
            pass


async def test_the_server_leads_a_process_group_of_its_own(fake_triton, tmp_path):
    fake_triton.behave(SERVES)
    async with running_triton(tmp_path, PORTS, Failures(tmp_path)):
        await until(lambda: fake_triton.pids)
        assert os.getpgid(fake_triton.pids[0]) == fake_triton.pids[0] != os.getpgid(0)


async def test_a_server_that_hangs_is_killed_and_started_again_unless_it_is_only_starting(
    fake_triton, tmp_path, short_pauses
):
    hung = asyncio.Event()
    fake_triton.behave(f"if starts > 1:\n    time.sleep(60)\n{SERVES}")
    async with running_triton(tmp_path, PORTS, Failures(tmp_path), hung):
        await until(lambda: len(fake_triton.starts) == 1)
        while len(fake_triton.starts) == 1:  # it may not have said yet that it listens
            hung.set()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        hung.set()
        await asyncio.sleep(0.05)
        assert len(fake_triton.starts) == 2
        assert not hung.is_set()
