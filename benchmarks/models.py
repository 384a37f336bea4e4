"""The checkpoints that are served: the shipped one, and ViT-B with random weights, as costly as the real one."""

from dataclasses import dataclass
from pathlib import Path

from export import export
from tests.support.checkpoints import VIT_B, write_checkpoint

ROOT = Path(__file__).parents[1]
_MADE = ROOT / "data" / "benchmarks"


@dataclass(frozen=True)
class Model:
    """A checkpoint, and the repository that holds its graphs."""

    name: str
    checkpoint: Path
    repository: Path


def quickstart() -> Model:
    """Return the shipped model."""
    return Model("quickstart", ROOT / "models" / "quickstart" / "quickstart_vit_t.pth", ROOT / "model_repository")


def vit_b() -> Model:
    """Return a ViT-B with seeded random weights; it is written and exported the first time."""
    folder = _MADE / "vit_b"
    model = Model("vit_b", folder / "vit_b.pth", folder / "repository")
    folder.mkdir(parents=True, exist_ok=True)
    if not model.checkpoint.exists():
        write_checkpoint(model.checkpoint, VIT_B)
    if not list((model.repository / "sam_decoder").glob("*/model.onnx")):
        export(model.checkpoint, model.repository)
    return model
