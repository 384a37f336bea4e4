"""Whether the models answer what they are asked."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from frontend_api.errors import Saturated, VersionGone
from frontend_api.inference import ModelName


class Progress:
    """Tells by model since when requests have been left without any answer."""

    def __init__(self) -> None:
        self._outstanding: Counter[ModelName] = Counter()
        self._silent_since: dict[ModelName, float] = {}

    @contextmanager
    def asked(self, model: ModelName) -> Iterator[None]:
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

    def silent(self, seconds: float) -> set[ModelName]:
        """Return the models that have answered nothing for so long although they were asked."""
        return {model for model, since in self._silent_since.items() if monotonic() - since > seconds}

    def given_up(self, seconds: float) -> set[ModelName]:
        """Return those of the silent models whom nobody asks now, since all have gone who did."""
        return {model for model in self.silent(seconds) if not self._outstanding[model]}

    def forget(self) -> None:
        """Begin anew, as after a restart of the model server."""
        self._silent_since.clear()
