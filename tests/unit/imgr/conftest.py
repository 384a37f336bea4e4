"""A stand-in for tritonserver, to see what becomes of it."""

import os
import sys
from pathlib import Path

import pytest

_SCRIPT = """#!{python}
import os, signal, subprocess, sys, time
with open({started!r}, "a") as file:
    print(os.getpid(), *sys.argv[1:], file=file, flush=True)

def say(message, level="I"):
    print(f'{{level}}1123 12:27:22.535523 {{os.getpid()}} server.cc:241] "{{message}}"', flush=True)

starts = len(open({started!r}).readlines())
{behaviour}
"""

LISTENS = 'say("Started HTTPService at 127.0.0.1:1")\n'
SERVES = LISTENS + "time.sleep(60)\n"


class FakeTriton:
    """Writes the script and remembers the processes that ran it."""

    def __init__(self, folder: Path):
        self._script = folder / "tritonserver"
        self._started = folder / "started"
        self._started.touch()

    def behave(self, behaviour):
        self._script.write_text(
            _SCRIPT.format(python=sys.executable, started=str(self._started), behaviour=behaviour), "utf-8"
        )
        self._script.chmod(0o755)

    @property
    def starts(self):
        """The arguments of each start so far."""
        return [line.split()[1:] for line in self._started.read_text().splitlines()]

    @property
    def pids(self):
        return [int(line.split()[0]) for line in self._started.read_text().splitlines()]


@pytest.fixture
def fake_triton(tmp_path, monkeypatch):
    """A tritonserver on the PATH; tell it how to behave."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return FakeTriton(folder)
