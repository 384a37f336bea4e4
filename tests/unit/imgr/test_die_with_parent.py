import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from imgr.die_with_parent import die_with_parent, parent_pipe

# A process that starts another; both hold the standard output open.
FAMILY = ["/bin/sh", "-c", "sleep 600 & echo here; sleep 600"]


def test_a_whole_family_dies_with_the_process_that_started_it_however_that_ends():
    script = (
        "import subprocess, time; from imgr.die_with_parent import die_with_parent, parent_pipe; pipe = parent_pipe(); "
        f"subprocess.Popen(die_with_parent({FAMILY!r}), stdin=pipe.__enter__(), start_new_session=True); "
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"here\n"
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == b""  # ends when the last that holds it ends


def test_a_whole_family_dies_with_the_parent_pipe():
    with parent_pipe() as stdin:
        family = subprocess.Popen(die_with_parent(FAMILY), stdin=stdin, stdout=subprocess.PIPE, start_new_session=True)
        assert family.stdout.readline() == b"here\n"
    with family:
        assert family.stdout.read() == b""


def test_a_family_ends_with_its_head_and_so_does_its_guard():
    with parent_pipe() as stdin:
        family = subprocess.Popen(die_with_parent(FAMILY), stdin=stdin, stdout=subprocess.PIPE, start_new_session=True)
        with family:
            assert family.stdout.readline() == b"here\n"
            family.kill()
            assert family.stdout.read() == b""
        deadline = time.monotonic() + 10
        while guards(stdin):
            assert time.monotonic() < deadline, "the guard stays"
            time.sleep(0.02)


def guards(stdin):
    """Return the other processes that hold the reading end of a parent_pipe."""
    pipe = str(Path(f"/proc/self/fd/{stdin}").readlink())
    return [
        process.pid
        for process in psutil.process_iter()
        if process.pid != os.getpid() and held(f"/proc/{process.pid}/fd/0") == pipe
    ]


def held(descriptor):
    try:
        return str(Path(descriptor).readlink())
    except OSError:
        return None


def test_a_command_whose_pipe_is_cut_already_does_not_start():
    reading, writing = os.pipe()
    os.close(writing)
    run = subprocess.run(
        die_with_parent(["/bin/echo", "started"]),
        stdin=reading,
        capture_output=True,
        start_new_session=True,
        check=True,
    )
    os.close(reading)
    assert run.stdout == b""
