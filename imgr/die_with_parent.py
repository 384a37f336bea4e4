"""Processes that end when this one ends, however it ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Runs in a Python of its own, which becomes the command: a child forked by a process with many threads should do no
# more than exec. First it leaves a guard behind, forked twice, so that the guard is no child of the command.
_TIE = """
import os, select, signal, sys, time
if select.select([0], [], [], 0)[0]:  # the other end is closed already
    sys.exit()
leader = os.getpid()
end = os.pidfd_open(leader)
if child := os.fork():
    os.waitpid(child, 0)
    os.execv(sys.argv[1], sys.argv[1:])
elif not os.fork():
    os.setsid()
    os.closerange(1, end)
    os.closerange(end + 1, 1024)
    select.select([0, end], [], [])
    try:
        for _ in range(100):  # one that is just being forked may escape the first
            os.killpg(leader, signal.SIGKILL)
            time.sleep(0.02)
    except ProcessLookupError:
        pass
"""


@contextmanager
def parent_pipe() -> Iterator[int]:
    """Provide the standard input of a process group that must not outlive this process.

    It is the reading end of a pipe. The kernel closes the other end with this process, and with the context, which
    wakes the guard of every process that `die_with_parent` started with it: it kills the whole group. Such a process
    must lead a session of its own; when it ends by itself, what is left of its group ends with it. Unlike
    PR_SET_PDEATHSIG this reaches the processes that it starts in turn, and is bound to no thread.
    """
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def die_with_parent(command: list[str]) -> list[str]:
    """Return `command` such that it ends with the process that holds `parent_pipe`, its standard input."""
    return [sys.executable, "-I", "-S", "-c", _TIE, *command]
