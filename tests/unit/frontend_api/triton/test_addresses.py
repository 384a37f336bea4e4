"""A name stands for every address it has."""

import asyncio
import socket

import pytest

from frontend_api.triton.addresses import addresses_of


def resolving_to(monkeypatch, *addresses):
    async def getaddrinfo(host, port, **_):
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("found", "addresses"),
    [
        (("10.0.0.1",), {"triton:8000"}),
        (("10.0.0.1", "10.0.0.2", "10.0.0.1"), {"10.0.0.1:8000", "10.0.0.2:8000"}),
        (("::1", "127.0.0.1"), {"triton:8000"}),
        (("fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"), {"10.0.0.1:8000", "10.0.0.2:8000"}),
        (("fd00::1", "fd00::2"), {"[fd00::1]:8000", "[fd00::2]:8000"}),
    ],
)
async def test_each_server_counts_once(monkeypatch, found, addresses):
    resolving_to(monkeypatch, *found)
    assert await addresses_of("triton:8000") == addresses


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "[::1]:8000"])
async def test_an_address_stands_for_itself(name):
    assert await addresses_of(name) == {name}
