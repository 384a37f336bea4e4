"""Whether the model server answers what it is asked."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from frontend_api.errors import Saturated, VersionGone

_SUSPICIOUS_SECONDS = 5.0


class Progress:
    """Tells of models, and of the index of them, since when they have left questions without any answer.

    Args:
        hang: seconds after which what answers nothing counts as hung.
    """

    def __init__(self, hang: float) -> None:
        self.hang = hang
        self._outstanding: Counter[str] = Counter()
        self._silent_since: dict[str, float] = {}

    @contextmanager
    def asked(self, model: str) -> Iterator[None]:
        """Take part in asking a model.

        What the model server refuses is answered; not so what it could not have computed, what took too long, and what
        nobody waited for any more.
        """
        self._outstanding[model] += 1
        self._silent_since.setdefault(model, monotonic())
        try:
            yield
        except (VersionGone, Saturated):
            self._silent_since.pop(model, None)
            raise
        else:
            self._silent_since.pop(model, None)
        finally:
            self._outstanding[model] -= 1
            if self._outstanding[model]:
                self._silent_since.setdefault(model, monotonic())

    def hung(self) -> set[str]:
        """Return what has answered nothing for too long although it was asked."""
        return self._silent(self.hang)

    def given_up(self) -> set[str]:
        """Return what has answered nothing for a while, and is asked nothing now, since all have gone who did."""
        return {model for model in self._silent(_SUSPICIOUS_SECONDS) if not self._outstanding[model]}

    def forget(self) -> None:
        """Begin anew, as after a restart of the model server."""
        self._silent_since.clear()

    def _silent(self, seconds: float) -> set[str]:
        return {model for model, since in self._silent_since.items() if monotonic() - since > seconds}
