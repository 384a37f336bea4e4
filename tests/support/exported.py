"""A checkpoint and the pair of graphs that export published of it."""

from dataclasses import dataclass
from pathlib import Path

from imgr.repository.publication import Publication


@dataclass(frozen=True)
class Exported:
    """A published pair and what it came from."""

    checkpoint: Path
    repository: Path
    publication: Publication
    steps: list[tuple[str, float]]

    def graph(self, model):
        return self.repository / model / str(self.publication.version) / "model.onnx"
