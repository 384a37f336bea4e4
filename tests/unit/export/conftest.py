"""A small SAM, its checkpoint, and what export makes of it."""

from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import pytest
import torch

import export
from export.checkpoint import load
from tests.support.checkpoints import write_checkpoint

# On a busy machine more threads wait for each other longer than they compute.
torch.set_num_threads(2)


@dataclass(frozen=True)
class Exported:
    """A published pair and what it came from."""

    checkpoint: Path
    repository: Path
    publication: export.Publication
    steps: list[tuple[str, float]]

    def graph(self, model):
        return self.repository / model / str(self.publication.version) / "model.onnx"

    def session(self, model):
        return open_session(self.graph(model))


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "small.pth")


@pytest.fixture(scope="session")
def small_sam(small_checkpoint):
    return load(small_checkpoint).sam


@pytest.fixture(scope="session")
def exported(small_checkpoint, tmp_path_factory):
    """The small checkpoint, exported the way the command line does it."""
    repository = tmp_path_factory.mktemp("repository") / "models"
    steps = []
    publication = export.export(small_checkpoint, repository, progress=lambda *step: steps.append(step))
    return Exported(small_checkpoint, repository, publication, steps)
