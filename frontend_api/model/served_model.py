"""What is served: a pair of one version of encoder and decoder, made from one checkpoint."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

_SHIPPED = "quickstart"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A consistent pair of encoder and decoder.

    Attributes:
        version: version number in the model repository, the same in both models.
        identity: ``<variant>/<precision>/<digest>``, carried by both graphs.
        since: when it came into service here.
    """

    version: int
    identity: str
    since: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)

    @property
    def variant(self) -> str:
        """The architecture, for example ``vit_b``."""
        return self.identity.partition("/")[0]

    @property
    def precision(self) -> str:
        """The arithmetic, for example ``fp32``."""
        return self.identity.partition("/")[2].partition("/")[0]

    @property
    def demonstration(self) -> bool:
        """Whether it is the small model that ships, which SAM's own weights are meant to replace."""
        return self.variant == _SHIPPED
