"""A container engine: Podman, or Docker where its daemon answers, and the real Docker Compose in front of either."""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _docker_answers():
    return (
        shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    )


class Engine:
    """Runs the engine's commands. `ENGINE` chooses between two that are there."""

    def __init__(self, name, environment):
        self.name = name
        self.environment = environment

    def __call__(self, *arguments, check=True, timeout=600):
        run = subprocess.run(
            [self.name, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert run.returncode == 0 or not check, run.stdout + run.stderr
        return run.stdout.strip()

    def fails(self, *arguments):
        run = subprocess.run([self.name, *arguments], env=self.environment, capture_output=True, check=False)
        return run.returncode != 0

    def inspect(self, container):
        (found,) = json.loads(self("inspect", container))
        return found

    def has_image(self, name):
        return not self.fails("image", "inspect", name)


@contextlib.contextmanager
def running_engine():
    """Yield the engine; skip the tests where there is none, or where deploy/test-images.sh has not been run."""
    wanted = os.environ.get("ENGINE") or ("podman" if shutil.which("podman") else "docker")
    if not shutil.which(wanted) or (wanted == "docker" and not _docker_answers()):
        pytest.skip("no container engine is here")
    if wanted == "docker":
        engine = Engine(wanted, dict(os.environ))
        _require_images(engine)
        yield engine
        return
    with tempfile.TemporaryDirectory(prefix="imgr-engine-") as folder:
        socket = Path(folder, "podman.sock")
        engine = Engine(wanted, os.environ | {"DOCKER_HOST": f"unix://{socket}"})
        _require_images(engine)
        with (Path(folder) / "log").open("wb") as log:
            service = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"], stderr=log)
        ended = threading.Event()
        checks = threading.Thread(target=_check_health, args=(engine, ended))
        try:
            while not socket.exists():
                assert service.poll() is None
                time.sleep(0.1)
            checks.start()
            yield engine
        finally:
            ended.set()
            checks.join()
            service.terminate()
            service.wait()


def _require_images(engine):
    if not engine.has_image("docker.io/library/imgr-api"):
        pytest.skip("deploy/test-images.sh has not made the images")


def _check_health(engine, ended):
    """Do what systemd does for Podman where there is no systemd: ask for the containers' health now and then."""
    while not Path("/run/systemd/system").exists() and not ended.wait(2):
        for container in engine("ps", "-q").split():
            engine("healthcheck", "run", container, check=False)


class Compose:
    """One project of Docker Compose."""

    def __init__(self, engine, name, *files, **environment):
        program = Path(importlib.util.find_spec("compose").origin).parent / "docker-compose"
        self.engine, self.name = engine, name
        self.command = [program, "-p", name, *(f"--file={file}" for file in files)]
        inherited = {name: value for name, value in engine.environment.items() if not name.startswith("IMGR_")}
        self.environment = inherited | {"COMPOSE_PROFILES": "cpu"} | environment

    def __call__(self, *arguments, timeout=600):
        run = subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout + run.stderr

    def container(self, service):
        return f"{self.name}-{service}-1"


def until(condition, seconds=180):
    """Wait until a condition holds; whatever it raises counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):
            if found := condition():
                return found
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.5)
