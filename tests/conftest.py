"""Fixtures for all tests."""

import io
import os
import pickle

import pytest
import skimage.data
import structlog
from filelock import FileLock
from PIL import Image

# Without the values of local variables, which cost seconds for each traceback.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session")
def astronaut():
    """A real photo: uint8 (512, 512, 3)."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def photo_jpeg(astronaut):
    """A real photo as JPEG bytes, 300 × 200."""
    buffer = io.BytesIO()
    Image.fromarray(astronaut[:400]).resize((300, 200)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all workers of this run see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def small_checkpoint(shared_folder):
    """The checkpoint of a small SAM with seeded random weights, written by the first worker that needs it."""
    from models.seeded import write_checkpoint

    path = shared_folder / "small.pth"
    with FileLock(shared_folder / "small.lock"):
        return path if path.exists() else write_checkpoint(path)


@pytest.fixture(scope="session")
def small_sam(small_checkpoint):
    """The network of `small_checkpoint` in PyTorch."""
    from export.checkpoint import load

    return load(small_checkpoint).sam


@pytest.fixture(scope="session")
def exported(small_checkpoint, shared_folder):
    """The small checkpoint, exported the way the command line does it, by the first worker that needs it."""
    from export import ExportJob
    from imgr.repository.publication import publish
    from tests.support.exported import Exported

    note = shared_folder / "exported.pickle"
    with FileLock(shared_folder / "exported.lock"):
        if not note.exists():
            repository = shared_folder / "exported" / "repository"
            repository.parent.mkdir()
            steps = []
            job = ExportJob(small_checkpoint, progress=lambda *step: steps.append(step))
            publication = publish(job, repository)
            note.write_bytes(pickle.dumps(Exported(small_checkpoint, repository, publication, steps)))
    return pickle.loads(note.read_bytes())


@pytest.fixture(scope="session")
def small_repository(exported):
    """A model repository with the small model as version 1."""
    return exported.repository
