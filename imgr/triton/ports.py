"""Ports to listen on."""

import socket
from contextlib import ExitStack

from imgr.errors import CannotServe


def free_ports(count: int) -> list[int]:
    """Return different ports of the loopback interface that nobody listens on now."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def require_free(host: str, port: int, purpose: str, option: str) -> None:
    """Raise CannotServe if `port` of `host` can't be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotServe(
                f"port {port} on {host}, meant for {purpose}, is not free ({error.strerror}); "
                f"choose another with {option}"
            ) from error
