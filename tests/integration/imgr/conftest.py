"""The real tritonserver with tiny models."""

import pytest

from tests.support.tiny_models import write_version
from tests.support.triton import Triton


@pytest.fixture(scope="package")
def tiny_triton(tmp_path_factory):
    """A tritonserver shared by the tests that leave it as it is.

    ``tiny`` answers at once; ``patient`` waits up to half a second for requests to batch, and is nice; ``thrifty``
    waits too, but runs two at a time; ``parallel`` runs each alone, beside the others.
    """
    folder = tmp_path_factory.mktemp("triton")
    write_version(folder / "models", "tiny", 1)
    write_version(folder / "models", "patient", 1, delay=500_000, nice=7)
    write_version(folder / "models", "thrifty", 1, delay=500_000, at_once=2)
    write_version(folder / "models", "parallel", 1, delay=500_000, at_once=1, side_by_side="true")
    triton = Triton(folder / "models", folder / "log")
    yield triton.wait_until_ready("tiny", "patient", "thrifty", "parallel")
    triton.stop()
