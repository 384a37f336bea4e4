"""What is to be exported, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.agreement import Comparison

Precision = Literal["fp32", "fp16", "int8"]


def _tell_nobody(*_: object) -> None:
    pass


@dataclass(frozen=True)
class ExportJob:
    """One export.

    Attributes:
        checkpoint: a `.pth` file of vit_h, vit_l, vit_b, vit_t (MobileSAM) or another ViT of SAM's classes.
        precision: fp16 for GPUs, int8 (of the encoder) for CPUs; their masks are compared with those of fp32.
        pictures: a folder of photos to calibrate and to compare with, such as those to be served; else some are drawn.
        force: accept masks that differ much from those of fp32.
        progress: told each step in words as it begins, and which fraction of the work is done.
        report: told how far the masks agree with those of fp32.
    """

    checkpoint: Path
    precision: Precision = "fp32"
    pictures: Path | None = None
    force: bool = False
    progress: Callable[[str, float], None] = _tell_nobody
    report: Callable[[Comparison], None] = _tell_nobody
