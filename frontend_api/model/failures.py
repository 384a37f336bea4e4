"""Model versions that can't be served, and why."""

from collections.abc import Mapping

import structlog

from frontend_api.inference import ModelName, VersionState
from frontend_api.metrics import Metrics

log = structlog.stdlib.get_logger("imgr.model")


class FailedVersions:
    """Shows what can't be served: in the log when it begins, in `reasons` and in the metrics as long as it holds.

    Attributes:
        reasons: by ``model/version``; by ``model`` where nothing of it can be read, by ``pair/version`` where encoder
            and decoder don't belong together.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._gauge = metrics.model_failures
        self.reasons: dict[str, str] = {}

    def note(self, reasons: dict[str, str]) -> None:
        """Take what holds now."""
        for name in reasons.keys() - self.reasons.keys():
            log.error("a version can't be served", version=name, reason=reasons[name])
        if reasons.keys() != self.reasons.keys():
            self._gauge.clear()
            for name in reasons:
                model, version = name.partition("/")[::2]
                self._gauge.labels(model, version).set(1)
        self.reasons = reasons


def failed_to_load(states: Mapping[ModelName, Mapping[int, VersionState]]) -> dict[str, str]:
    """Return what Triton's index says it could not load; it remembers versions that are gone as well."""
    return {
        f"{name}/{version}": state.reason
        for name, versions in states.items()
        for version, state in versions.items()
        if not state.ready and state.reason and state.reason != "unloaded"
    }
