"""SAM checkpoints → ONNX graphs in a Triton model repository.

Importing this package loads no PyTorch; `export` does, when it is called.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from export.errors import ExportError
from export.publication import Publication, find_published

if TYPE_CHECKING:
    from export.comparison import Comparison

__all__ = ["ExportError", "Precision", "Publication", "export", "find_published"]

Precision = Literal["fp32", "fp16", "int8"]


def export(
    checkpoint: Path,
    repository: Path,
    *,
    precision: Precision = "fp32",
    pictures: Path | None = None,
    force: bool = False,
    progress: Callable[[str, float], None] = lambda step, done: None,
    report: "Callable[[Comparison], None]" = lambda comparison: None,
) -> Publication:
    """Export a SAM checkpoint as the next version of both models of a repository.

    The graphs are compared with PyTorch before they are published, and published all at once.

    Args:
        checkpoint: a `.pth` file of vit_h, vit_l, vit_b, vit_t (MobileSAM) or another ViT of SAM's classes.
        repository: a Triton model repository, created if need be.
        precision: fp16 for GPUs, int8 (of the encoder) for CPUs; their masks are compared with those of fp32.
        pictures: a folder of photos to calibrate and to compare with, such as those to be served; else some are drawn.
        force: publish even if the masks differ much from those of fp32.
        progress: told each step in words as it begins, and which fraction of the work is done.
        report: told how far the masks agree with those of fp32.

    Raises:
        ExportError: with one sentence about what was wrong; nothing was published.
        ModuleNotFoundError: if PyTorch or segment-anything is not installed.
    """
    from export.pipeline import export_checkpoint  # noqa: PLC0415 - PyTorch is needed from here on only

    return export_checkpoint(
        checkpoint,
        repository,
        precision=precision,
        pictures=pictures,
        force=force,
        progress=progress,
        report=report,
    )
