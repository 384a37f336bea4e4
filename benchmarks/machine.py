"""What measures and is measured: this machine, and what its processes use."""

import os
import platform
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CORES = len(os.sched_getaffinity(0))


def description() -> dict[str, Any]:
    """Return what the results depend on."""
    name = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": name[1] if name else platform.machine(),
        "cores": CORES,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "matmul_gflops": round(matmul_gflops(), 1),
    }


def matmul_gflops(side: int = 1536) -> float:
    """Return the speed of a large single-precision matrix product, in 1e9 operations a second."""
    a = np.ones((side, side), np.float32)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times) / 1e9


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and spread of durations, in milliseconds."""
    values = sorted(1e3 * value for value in seconds)
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else 99 * values
    return {
        "n": len(values),
        "p50": statistics.median(values),
        "q1": cuts[24],
        "q3": cuts[74],
        "p95": cuts[94],
        "p99": cuts[98],
        "min": values[0],
        "max": values[-1],
    }


class Processes:
    """A process and its descendants, named by what they do."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor seconds used so far, by role."""
        return self._sums(lambda process: sum(process.cpu_times()[:2]))

    def resident_mb(self) -> dict[str, float]:
        """Return the resident memory in MB, by role."""
        return self._sums(lambda process: process.memory_info().rss / 1e6)

    def _sums(self, measure: Any) -> dict[str, float]:
        sums: dict[str, float] = {}
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                role, value = _role(process, self._root), float(measure(process))
            except psutil.NoSuchProcess:
                continue
            sums[role] = sums.get(role, 0.0) + value
        return sums


def _role(process: psutil.Process, root: psutil.Process) -> str:
    if process == root:
        return "server"
    command = " ".join(process.cmdline())
    if "python_backend_stub" in command:
        return "sam_decoder" if "/sam_decoder/" in command else "sam_encoder"
    return "tritonserver" if "tritonserver" in command else "worker"
