"""The checkpoints that are served: the shipped one, and ViT-B with a random encoder, as costly as the real one."""

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.photos import Photo
from export import ExportJob, checkpoint
from imgr.repository.publication import publish
from models.quickstart.predictor import Predictor
from models.seeded import VIT_B, random_sam

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
    return Model("quickstart", ROOT / "models" / "quickstart" / "quickstart.pth", ROOT / "model_repository")


def vit_b() -> Model:
    """Return a ViT-B as costly as a trained one; it is written and exported the first time."""
    folder = _MADE / "vit_b_of_shipped_decoder"
    model = Model("vit_b", folder / "vit_b.pth", folder / "repository")
    folder.mkdir(parents=True, exist_ok=True)
    if not model.checkpoint.exists():
        _write_vit_b(model.checkpoint)
    if not list((model.repository / "sam_decoder").glob("*/model.onnx")):
        publish(ExportJob(model.checkpoint), model.repository)
    return model


@torch.no_grad()
def _write_vit_b(path: Path) -> None:
    """Write a seeded random encoder with the shipped decoder.

    The encoder computes all that a trained one does, but its last normalisation then scales it by zero and adds the
    shipped encoder's mean embedding: of a picture that is the same everywhere, the shipped decoder takes what the box
    encloses, whereas a random one covers nearly the whole photo whatever is asked.
    """
    sam, shipped = random_sam(VIT_B), checkpoint.load(quickstart().checkpoint).sam
    sam.prompt_encoder, sam.mask_decoder = shipped.prompt_encoder, shipped.mask_decoder
    predictor = Predictor(shipped)
    predictor.look(Photo("1800×1200", "medium").pixels)
    normalisation = sam.image_encoder.neck[-1]
    normalisation.weight.zero_()
    normalisation.bias.copy_(predictor.embedding.mean((0, 2, 3)))
    torch.save(sam.state_dict(), path)
