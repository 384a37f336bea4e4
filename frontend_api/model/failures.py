"""Model versions that can't be served, and why."""

from collections.abc import Mapping

import structlog

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
        self.reasons: Mapping[str, str] = {}

    def note(self, reasons: Mapping[str, str]) -> None:
        """Take what holds now."""
        for name in reasons.keys() - self.reasons.keys():
            log.error("a version can't be served", version=name, reason=reasons[name])
        if reasons.keys() != self.reasons.keys():
            self._gauge.clear()
            for name in reasons:
                model, version = name.partition("/")[::2]
                self._gauge.labels(model, version).set(1)
        self.reasons = reasons
