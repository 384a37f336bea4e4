"""The command line of tritonserver."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from imgr.triton.installation import Installation

# Runs in a Python of its own that becomes tritonserver: a child forked by a process with many threads should do no
# more than exec. If the parent ended before the kernel was told to end us with it, there is nothing to serve.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class TritonPorts:
    """Ports of a tritonserver on the loopback interface."""

    http: int
    metrics: int


def tritonserver_command(
    installation: Installation, repository: Path, ports: TritonPorts, *, shared_memory: str, gpu: bool
) -> list[str]:
    """Return the arguments that start a tritonserver on 127.0.0.1, polling `repository`.

    Args:
        installation: the binary and its backends.
        repository: Triton's model repository.
        ports: where it listens.
        shared_memory: prefix of the names in /dev/shm, so that what a killed server leaves can be removed.
        gpu: whether there is a GPU; without one Triton's log would complain about its absence.
    """
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
    ]
    if not gpu:
        command += ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
    if installation.backends is not None:
        command += [
            f"--backend-directory={installation.backends}",
            f"--backend-config=python,shm-region-prefix-name={shared_memory}",
        ]
    return command


def dying_with_this_process(command: list[str]) -> list[str]:
    """Return `command` such that the kernel kills it when this process ends, however it ends.

    Start it from the main thread: the kernel watches the thread that started it.
    """
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
