"""A real service on a small SAM with seeded random weights."""

import pytest

from tests.support.service import Service
from tests.support.service_client import ServiceClient


@pytest.fixture(scope="session")
def service(small_repository, tmp_path_factory):
    """`imgr serve`, shared by the tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("service")
    service = Service(small_repository, folder / "store", folder / "log")
    yield service.wait_until_ready()
    service.stop()


@pytest.fixture
def client(service):
    return ServiceClient(service.url)
