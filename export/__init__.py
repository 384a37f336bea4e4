"""SAM checkpoints → ONNX graphs in a Triton model repository.

Importing this package loads no PyTorch; `export` does, when it is called.
"""

from collections.abc import Callable
from pathlib import Path

from export.errors import ExportError
from export.publication import Publication, find_published

__all__ = ["ExportError", "Publication", "export", "find_published"]


def export(
    checkpoint: Path, repository: Path, *, progress: Callable[[str, float], None] = lambda step, done: None
) -> Publication:
    """Export a SAM checkpoint as the next version of both models of a repository.

    The graphs are compared with PyTorch before they are published, and published all at once.

    Args:
        checkpoint: a `.pth` file of vit_h, vit_l, vit_b, vit_t (MobileSAM) or another ViT of SAM's classes.
        repository: a Triton model repository, created if need be.
        progress: told each step in words as it begins, and which fraction of the work is done.

    Raises:
        ExportError: with one sentence about what was wrong; nothing was published.
        ModuleNotFoundError: if PyTorch or segment-anything is not installed.
    """
    from export.pipeline import export_checkpoint  # noqa: PLC0415 - PyTorch is needed from here on only

    return export_checkpoint(checkpoint, repository, progress)
