"""What can go wrong while exporting; every message is one sentence for the person at the console.

ExportError
├── UnusableCheckpoint       the file is not a SAM checkpoint this package can export
├── IncompatibleGraph        the exporter produced what the served ONNX Runtimes cannot read
├── Disagreement             the written graphs do not compute what PyTorch computes
├── LossOfPrecision          graphs of less precision give other masks
├── UnusablePictures         the folder of pictures to compare with holds none
└── UnusableRepository       the model repository cannot be written
"""


class ExportError(Exception):
    """The export was refused or failed; nothing was published."""


class UnusableCheckpoint(ExportError):
    """The file is missing, unreadable, truncated, no SAM checkpoint, or of an unknown architecture."""


class IncompatibleGraph(ExportError):
    """A graph uses an operator, opset or IR version that the served ONNX Runtimes cannot read."""


class Disagreement(ExportError):
    """ONNX Runtime and PyTorch gave different answers to the same question."""


class LossOfPrecision(ExportError):
    """The masks of half precision or integer graphs differ too much from those of full precision."""


class UnusablePictures(ExportError):
    """The folder of pictures to calibrate and compare with cannot be read or holds none."""


class UnusableRepository(ExportError):
    """The model repository is missing a part that cannot be supplied, or cannot be written."""
