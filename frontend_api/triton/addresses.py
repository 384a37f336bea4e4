"""What a name of Tritons stands for."""

import asyncio
import socket


async def addresses_of(name: str) -> set[str]:
    """Return the addresses that ``host:port`` stands for, in the same form; one with a single address is its own.

    Only IPv4 if there is any, so that no server counts twice. Raises OSError if the name is not known.
    """
    host, _, port = name.rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    v4 = {str(info[4][0]) for info in found if info[0] == socket.AF_INET}
    hosts = v4 or {f"[{info[4][0]}]" for info in found}
    return {f"{each}:{port}" for each in hosts} if len(hosts) > 1 else {name}
