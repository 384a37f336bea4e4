"""Fixtures for all tests."""

import io

import pytest
import skimage.data
import structlog
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
def small_checkpoint(tmp_path_factory):
    """The checkpoint of a small SAM with seeded random weights."""
    from models.seeded import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.pth")


@pytest.fixture(scope="session")
def small_sam(small_checkpoint):
    """The network of `small_checkpoint` in PyTorch."""
    from export.checkpoint import load

    return load(small_checkpoint).sam


@pytest.fixture(scope="session")
def exported(small_checkpoint, tmp_path_factory):
    """The small checkpoint, exported the way the command line does it."""
    from export import ExportJob
    from imgr.repository.publication import publish
    from tests.support.exported import Exported

    repository = tmp_path_factory.mktemp("exported") / "repository"
    steps = []
    job = ExportJob(small_checkpoint, progress=lambda *step: steps.append(step))
    publication = publish(job, repository)
    return Exported(small_checkpoint, repository, publication, steps)


@pytest.fixture(scope="session")
def small_repository(exported):
    """A model repository with the small model as version 1."""
    return exported.repository
