"""Where tritonserver is, and what it needs around it to serve ONNX models."""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from imgr.errors import CannotServe

_BACKEND = Path(__file__).with_name("backend") / "model.py"


@dataclass(frozen=True, slots=True)
class Installation:
    """A tritonserver that can serve ONNX models.

    Attributes:
        executable: the binary.
        backends: the folder with the backend ``onnxruntime``, None for the binary's own.
        environment: variables it needs beside the inherited ones.
    """

    executable: Path
    backends: Path | None
    environment: dict[str, str]


def packaged_triton() -> Path | None:
    """Return the folder of the tritonserver that nvidia-pytriton brings, None where it is not installed."""
    spec = find_spec("pytriton")  # found, not imported: it would start things of its own
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "tritonserver"


def python_stub(triton: Path) -> Path:
    """Return the stub that embeds the running Python version."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return triton / "python_backend_stubs" / python / "triton_python_backend_stub"


def shared_libpython() -> Path | None:
    """Return the shared library of the running Python, None where there is none."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folders = (sysconfig.get_config_var("LIBDIR"), str(Path(sys.base_prefix) / "lib"))
    candidates = (Path(folder) / name for folder in folders if folder and ".so" in name)
    return next((path for path in candidates if path.exists()), None)


def gpu_present() -> bool:
    """Tell whether this machine has an NVIDIA GPU with its driver."""
    return Path("/dev/nvidiactl").exists()


def require_parts() -> Path | None:
    """Return the packaged tritonserver, None where the PATH has one. Raises CannotServe for what is missing."""
    if shutil.which("tritonserver"):
        return None
    triton = packaged_triton()
    if triton is None:
        raise CannotServe("there is no tritonserver: nvidia-pytriton is not installed; run `uv sync` on Linux x86-64")
    if not python_stub(triton).exists():
        raise CannotServe(f"Triton's Python backend knows no Python {sys.version.split()[0]}; use Python 3.11 or 3.12")
    if shared_libpython() is None:
        raise CannotServe(
            f"this Python ({sys.executable}) has no shared libpython, which Triton embeds; "
            "install the distribution's libpython3 package, or let uv bring a Python: `uv python install 3.12`"
        )
    if int(version("numpy").partition(".")[0]) >= 2:
        raise CannotServe(
            f"numpy {version('numpy')} is installed, but Triton's Python backend knows numpy 1 only; "
            'run `pip install "numpy<2"`, or `uv sync` in a clone'
        )
    if find_spec("onnxruntime") is None:
        raise CannotServe("onnxruntime is not installed; run `uv sync`")
    return triton


def install(workspace: Path) -> Installation:
    """Prepare a tritonserver in `workspace`. Raises CannotServe, which says what is missing.

    A tritonserver on the PATH, as in NVIDIA's container, brings its own ONNX Runtime backend. The one from
    PyPI brings a Python backend only; a folder named ``onnxruntime`` holding it beside our ``model.py``
    makes it serve the very same model folders.
    """
    triton = require_parts()
    if triton is None:
        return Installation(Path(shutil.which("tritonserver") or "tritonserver"), None, {})
    folder = workspace / "backends" / "onnxruntime"
    folder.mkdir(parents=True)
    for source in (*(triton / "backends" / "python").iterdir(), python_stub(triton), _BACKEND):
        shutil.copy(source, folder)  # Triton refuses links that lead out of a backend
    return Installation(packaged_executable(triton), folder.parent, packaged_environment(triton))


def packaged_executable(triton: Path) -> Path:
    """Return the binary in the folder that nvidia-pytriton brings."""
    return triton / "bin" / "tritonserver"


def packaged_environment(triton: Path) -> dict[str, str]:
    """Return what the packaged tritonserver needs in its environment, for its libraries and for its Python."""
    libpython = shared_libpython()
    libraries = (
        triton.parent.parent / "nvidia_pytriton.libs",
        libpython and libpython.parent,
        os.environ.get("LD_LIBRARY_PATH"),
    )
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return {
        "LD_LIBRARY_PATH": ":".join(str(path) for path in libraries if path),
        "PYTHONPATH": ":".join(sorted(packages)),
        # The embedded Python looks for its standard library around the first python3 on the PATH.
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
    }
