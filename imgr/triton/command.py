"""The command line of tritonserver."""

from dataclasses import dataclass
from pathlib import Path

from imgr.triton.installation import Installation


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
