"""What a machine needs to serve, checked one by one, in words a newcomer can act on."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from frontend_api.settings import Settings
from imgr.errors import ImgrError
from imgr.repository.versions import broken_newest, list_versions
from imgr.store import existing_folder, require_store
from imgr.triton.control import external_tritons, served_version
from imgr.triton.installation import packaged_environment, packaged_executable, packaged_triton, require_parts
from imgr.triton.ports import require_free

_DISK_BYTES = 10**9
_START_SECONDS = 60.0
# A full batch of decodes takes 170 MB on its way through Triton's Python backend; containers often have 64 MB.
_SHARED_MEMORY_BYTES = 256 * 10**6


class State(StrEnum):
    """How a check ended."""

    WELL = "✓"
    DOUBTFUL = "!"  # serving works, but not in every case
    FAILED = "✗"  # serving is impossible


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what is well, or what is missing and what to do about it."""

    state: State
    finding: str


def examine(settings: Settings, port: int) -> list[Check]:
    """Check everything `imgr serve` needs; nothing stays started or changed."""
    external = settings.names_triton  # it has models of its own
    return [
        *(_tritons(settings) if external else _embedded_triton()),
        *_store(settings.store),
        _told(
            lambda: require_free("127.0.0.1", port, "the REST API", "--port"), f"port {port} is free", State.DOUBTFUL
        ),
        *([] if external else [*_checkpoint(settings.sam_checkpoint_path), _models(settings.model_repository)]),
    ]


def _tritons(settings: Settings) -> list[Check]:
    """Ask each external Triton what it serves; one of them is enough."""
    try:
        checks = [_serves(url) for url in external_tritons(settings)]
    except ImgrError as error:
        return [Check(State.FAILED, str(error))]
    if any(check.state is State.WELL for check in checks):
        return checks
    return [Check(State.FAILED, check.finding) for check in checks]


def _serves(url: str) -> Check:
    try:
        version = served_version([url])
    except ImgrError as error:
        return Check(State.DOUBTFUL, str(error))
    if version is None:
        return Check(State.DOUBTFUL, f"Triton at {url} serves no version of both models; its log says why")
    return Check(State.WELL, f"Triton at {url} serves version {version}")


def _store(url: str) -> list[Check]:
    checks = [_told(lambda: require_store(url), f"uploads and embeddings go to {url}")]
    if (folder := existing_folder(url)) is not None:
        remedy = "make room, or set IMGR_STORE to another place"
        checks.append(_space(folder, _DISK_BYTES, "uploads and embeddings", remedy))
    return checks


def _checkpoint(path: Path | None) -> list[Check]:
    if path is None:
        return []
    if path.is_file():
        return [Check(State.WELL, f"{path} is there to be exported and served")]
    return [Check(State.FAILED, f"there is no checkpoint at {path}, which SAM_CHECKPOINT_PATH names")]


def _embedded_triton() -> list[Check]:
    parts = _told(require_parts, "tritonserver, its Python backend and a shared libpython are here")
    return [
        glibc(*platform.libc_ver(), _wheel_tags()),
        parts,
        *([_starts(), _onnxruntime()] if parts.state is State.WELL and packaged_triton() else []),
        _space(
            Path("/dev/shm"),  # noqa: S108
            _SHARED_MEMORY_BYTES,
            "tensors on their way through Triton",
            "give a container more with --shm-size",
        ),
    ]


def _told(requirement: Callable[[], object], well: str, otherwise: State = State.FAILED) -> Check:
    try:
        requirement()
    except ImgrError as error:
        return Check(otherwise, str(error))
    return Check(State.WELL, well)


def _wheel_tags() -> str:
    try:
        return distribution("nvidia-pytriton").read_text("WHEEL") or ""
    except PackageNotFoundError:
        return ""


def glibc(library: str, version: str, wheel_tags: str) -> Check:
    """Compare the C library with what the wheel of nvidia-pytriton was built for."""
    needed = re.search(r"manylinux_(\d+)_(\d+)_", wheel_tags)
    if needed is None:
        return Check(State.WELL, f"{library or 'C library'} {version}")
    wanted = (int(needed[1]), int(needed[2]))
    if library == "glibc" and tuple(map(int, version.split(".")[:2])) >= wanted:
        return Check(State.WELL, f"glibc {version}; Triton needs {wanted[0]}.{wanted[1]}")
    return Check(
        State.FAILED,
        f"Triton needs glibc {wanted[0]}.{wanted[1]} or newer, this system has {library or 'another C library'} "
        f"{version}; use a newer distribution, such as Debian 12 or Ubuntu 22.04",
    )


def _starts() -> Check:
    triton = packaged_triton()
    assert triton is not None  # noqa: S101 - its parts have been checked
    try:
        run = subprocess.run(
            [packaged_executable(triton), "--help"],
            env=os.environ | packaged_environment(triton),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(State.FAILED, f"tritonserver does not start within {_START_SECONDS:g} seconds")
    if "--model-repository" in run.stdout:
        return Check(State.WELL, "tritonserver starts")
    said = run.stdout.partition("\n")[0]
    return Check(State.FAILED, f"tritonserver does not start (status {run.returncode}): {said}")


def _onnxruntime() -> Check:
    try:
        import onnxruntime  # noqa: PLC0415 - slow, and it may be broken
    except ImportError as error:
        return Check(State.FAILED, f"onnxruntime can't be imported ({error}); run `uv sync --reinstall`")
    providers = ", ".join(onnxruntime.get_available_providers())
    return Check(State.WELL, f"onnxruntime {onnxruntime.__version__} with {providers}")


def _space(folder: Path, wanted: int, purpose: str, remedy: str) -> Check:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return Check(State.FAILED, f"there is no {folder}, which is needed for {purpose}")
    finding = f"{free / 1e6:.0f} MB free in {folder} for {purpose}"
    if free >= wanted:
        return Check(State.WELL, finding)
    return Check(State.DOUBTFUL, f"{finding}, {wanted / 1e6:.0f} MB are advisable; {remedy}")


def _models(repository: Path) -> Check:
    try:
        versions = list_versions(repository)
    except ImgrError as error:
        return Check(State.FAILED, str(error))
    usable = [version for version in versions if version.problem is None]
    if not usable:
        return Check(
            State.FAILED,
            f"no version in {repository} can be served; run `uv run --extra export imgr export --checkpoint PATH`",
        )
    if broken := broken_newest(versions):
        return Check(
            State.DOUBTFUL,
            f"version {broken[0].number} is broken ({broken[0].problem}); remove it, or Triton may start with none",
        )
    return Check(State.WELL, f"newest model: version {usable[0].number}, {usable[0].identity}")
