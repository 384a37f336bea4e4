"""SAM checkpoints → ONNX graphs.

Importing this package loads no PyTorch; `prepare` does, when it is called.
"""

from typing import TYPE_CHECKING

from export.errors import ExportError
from export.job import ExportJob, Precision

if TYPE_CHECKING:
    from export.pipeline import PreparedExport

__all__ = ["ExportError", "ExportJob", "Precision", "prepare"]


def prepare(job: ExportJob) -> "PreparedExport":
    """Read what an export needs, so that nothing has to be made for one that is refused; `write` then does the work.

    Raises:
        ExportError: with one sentence about what was wrong.
        ModuleNotFoundError: if PyTorch or segment-anything is not installed.
    """
    from export.pipeline import PreparedExport  # noqa: PLC0415 - PyTorch is needed from here on only

    return PreparedExport(job)
