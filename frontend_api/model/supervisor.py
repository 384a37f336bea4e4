"""Who runs the model server, where that is in our hands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What the launcher of a Triton of our own can do beyond what Triton's endpoints offer.

    Attributes:
        failures: tells what can't be loaded and why. Triton's index remembers failures of versions that are gone, and
            says nothing of a ``config.pbtxt`` that can't be read.
        restart: has a Triton that hangs started anew.
    """

    failures: Callable[[], Mapping[str, str]]
    restart: Callable[[], None]
