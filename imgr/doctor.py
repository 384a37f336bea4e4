"""What a machine needs to serve, checked one by one, in words a newcomer can act on."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from re import search

from imgr.errors import ImgrError
from imgr.repository import list_versions
from imgr.triton.installation import packaged_triton, require_parts
from imgr.triton.ports import require_free

_DISK_BYTES = 10**9
_SHARED_MEMORY_BYTES = 64 * 2**20  # a batch of embeddings on its way into Triton's Python backend


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what is well, or what is missing and what to do about it."""

    passed: bool
    finding: str


def examine(repository: Path, port: int) -> list[Check]:
    """Check everything `imgr serve` needs; nothing is started or changed."""
    return [
        _glibc(),
        _told(require_parts, "tritonserver and a shared libpython for it are here"),
        _onnxruntime(),
        _space(Path("/dev/shm"), _SHARED_MEMORY_BYTES, "shared memory between Triton and its models"),  # noqa: S108
        _space(Path.cwd(), _DISK_BYTES, "uploads and embeddings"),
        _told(lambda: require_free("127.0.0.1", port, "the REST API", "--port"), f"port {port} is free"),
        _models(repository),
    ]


def _told(requirement: Callable[[], object], well: str) -> Check:
    try:
        requirement()
    except ImgrError as error:
        return Check(passed=False, finding=str(error))
    return Check(passed=True, finding=well)


def _glibc() -> Check:
    """Compare glibc with what the wheel of nvidia-pytriton was built for."""
    name, found = platform.libc_ver()
    try:
        wheel = distribution("nvidia-pytriton").read_text("WHEEL") or ""
    except PackageNotFoundError:
        wheel = ""
    needed = search(r"manylinux_(\d+)_(\d+)_", wheel)
    if needed is None or packaged_triton() is None:
        return Check(passed=True, finding=f"{name or 'C library'} {found}")
    wanted = (int(needed[1]), int(needed[2]))
    if name == "glibc" and tuple(map(int, found.split(".")[:2])) >= wanted:
        return Check(passed=True, finding=f"glibc {found}; Triton needs {wanted[0]}.{wanted[1]}")
    return Check(
        passed=False,
        finding=f"Triton needs glibc {wanted[0]}.{wanted[1]} or newer, this system has {name or 'no glibc'} {found}; "
        "use a newer distribution, such as Debian 12 or Ubuntu 22.04",
    )


def _onnxruntime() -> Check:
    if find_spec("onnxruntime") is None:
        return Check(
            passed=False,
            finding="onnxruntime is not installed; run `uv sync`",
        )
    import onnxruntime  # noqa: PLC0415 - slow to import, and not always there

    providers = ", ".join(onnxruntime.get_available_providers())
    return Check(passed=True, finding=f"onnxruntime {onnxruntime.__version__} with {providers}")


def _space(folder: Path, needed: int, purpose: str) -> Check:
    free = shutil.disk_usage(folder).free
    finding = f"{free / 1e6:.0f} MB free in {folder} for {purpose}"
    if free >= needed:
        return Check(passed=True, finding=finding)
    return Check(passed=False, finding=f"{finding}; at least {needed / 1e6:.0f} MB are needed")


def _models(repository: Path) -> Check:
    try:
        versions = list_versions(repository)
    except ImgrError as error:
        return Check(passed=False, finding=str(error))
    usable = [version for version in versions if version.problem is None]
    if not usable:
        return Check(
            passed=False,
            finding=f"no version in {repository} can be served; "
            "run `uv run --extra export imgr export --checkpoint PATH`",
        )
    return Check(passed=True, finding=f"newest model: version {usable[0].number}, {usable[0].identity}")
