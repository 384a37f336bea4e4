"""Shows how far a long run is."""

from collections.abc import Collection, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress as Bars

T = TypeVar("T")


class Progress:
    """One bar for each loop, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def track(self, items: Collection[T], what: str) -> Iterator[T]:
        """Yield the items, showing how many are done."""
        with Bars(console=self._console, transient=True) as bars:
            yield from bars.track(items, description=what)
