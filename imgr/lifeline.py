"""Processes that end when this one ends, however it ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Runs in a Python of its own, which becomes the command: a child forked by a process with many threads should do no
# more than exec. See fcntl(2) for the signal, which reaches the whole process group.
_TIE = """
import fcntl, os, select, signal, sys
fcntl.fcntl(0, fcntl.F_SETOWN, -os.getpgrp())
fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGKILL)
fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
if not select.select([0], [], [], 0)[0]:  # else the other end is closed already
    os.execv(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def lifeline() -> Iterator[int]:
    """Provide the standard input of a process group that must not outlive this process.

    It is the reading end of a pipe. The kernel closes the other end with this process, and with the context, and then
    kills everything in the group of the process that was started `tied` to it. That one must lead a session of its
    own. Unlike PR_SET_PDEATHSIG this reaches the processes that it starts in turn, and is bound to no thread.
    """
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def tied(command: list[str]) -> list[str]:
    """Return `command` such that it ends with the lifeline that is its standard input."""
    return [sys.executable, "-I", "-S", "-c", _TIE, *command]
