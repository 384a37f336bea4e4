import socket

import pytest

from imgr.errors import CannotServe
from imgr.triton.ports import free_ports, require_free


def test_free_ports_differ_and_can_be_listened_on():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        require_free("127.0.0.1", port, "a test", "--port")


def test_a_port_in_use_is_told_with_its_purpose_and_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CannotServe) as refusal:
            require_free("127.0.0.1", port, "Triton's metrics", "--triton-metrics-port")
    assert str(refusal.value) == (
        f"port {port} on 127.0.0.1, meant for Triton's metrics, is not free (Address already in use); "
        "choose another with --triton-metrics-port"
    )


def test_an_address_that_is_not_ours_is_told():
    with pytest.raises(CannotServe, match=r"on 192\.0\.2\.1, meant for"):
        require_free("192.0.2.1", 8000, "the REST API", "--port")
