"""From a checkpoint file to a verified pair of graphs."""

import tempfile
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path

from segment_anything.modeling import Sam

from export import checkpoint as checkpoints
from export import metadata as properties
from export.agreement import Comparison
from export.comparison import Pair, compare
from export.errors import LossOfPrecision
from export.examples import frames
from export.graphs import decoder_graph, encoder_graph, save, store_exact_halves
from export.job import ExportJob
from export.precision.half import halve
from export.precision.quantization import quantize
from export.precision.smoothing import smoothed
from export.verification import verify

# Mean IoU with the masks of full precision, below which a graph is refused.
LEAST_MEAN_IOU = {"fp16": 0.99, "int8": 0.95}


class PreparedExport:
    """A checkpoint that was read and recognised, and the pictures to compare with, if any are needed."""

    def __init__(self, job: ExportJob) -> None:
        job.progress(f"Reading {job.checkpoint.name}", 0.0)
        self._job = job
        self._checkpoint = checkpoints.load(job.checkpoint)
        self._examples = [] if job.precision == "fp32" else frames(job.pictures)
        self.identity = self._checkpoint.identity(job.precision)

    def write(self, encoder: Path, decoder: Path) -> None:
        """Write the two graphs, compared with PyTorch.

        Args:
            encoder: where `sam_encoder`'s graph goes; large weights go into a file beside it.
            decoder: where `sam_decoder`'s graph goes, likewise.

        Raises:
            ExportError: with one sentence about what was wrong; what was written is not to be used.
        """
        job, final = self._job, Pair(encoder, decoder)
        sam = self._checkpoint.sam
        if job.precision == "int8":
            job.progress("Running the encoder on the pictures", 0.12)
            sam = smoothed(sam, self._examples)
        # Beside the graph, not in the system's folder for temporary files: ViT-H takes gigabytes.
        with tempfile.TemporaryDirectory(dir=encoder.parent) as scratch:
            full = _full_precision(final, Path(scratch), job)
            self._write_full(sam, full, final)
            if job.precision != "fp32":
                self._convert(full, final)

    def _write_full(self, sam: Sam, full: Pair, final: Pair) -> None:
        job, metadata = self._job, self._metadata()
        job.progress(f"Writing the encoder of {self._checkpoint.architecture}", 0.15)
        encoder = encoder_graph(sam, self.identity, metadata)
        job.progress("Writing the decoder", 0.3)
        # Graphs in fp16 are for GPUs, which a branch makes wait.
        decoder = decoder_graph(sam, self.identity, metadata, branching=job.precision != "fp16")
        for graph, file in ((encoder, full.encoder), (decoder, full.decoder)):
            if file in (final.encoder, final.decoder):
                store_exact_halves(graph)
            save(graph, file)
        job.progress("Comparing ONNX Runtime with PyTorch", 0.4)
        verify(self._checkpoint.sam, full.encoder, full.decoder, self.identity)

    def _convert(self, full: Pair, final: Pair) -> None:
        job = self._job
        job.progress(f"Converting to {job.precision}", 0.6)
        if job.precision == "fp16":
            halve(full.encoder, final.encoder)
            halve(full.decoder, final.decoder)
        else:
            quantize(full.encoder, final.encoder)
        job.progress(f"Comparing masks with those of full precision on {len(self._examples)} pictures", 0.7)
        comparison = compare(full, final, self._examples)
        job.report(comparison)
        _require(comparison, job)

    def _metadata(self) -> dict[str, str]:
        return {
            properties.VARIANT: str(self._checkpoint.architecture),
            properties.PRECISION: self._job.precision,
            properties.IDENTITY: self.identity,
            properties.CHECKPOINT: self._job.checkpoint.name,
            properties.CHECKPOINT_SHA256: properties.sha256(self._job.checkpoint),
            properties.EXPORTED_AT: datetime.now(UTC).isoformat(timespec="seconds"),
            properties.IMGR_VERSION: package_version("imgr"),
            properties.EXPORT_FORMAT: str(properties.FORMAT_VERSION),
        }


def _full_precision(final: Pair, scratch: Path, job: ExportJob) -> Pair:
    """Return where the float32 graphs go: into the scratch folder unless they are the result."""
    encoder = final.encoder if job.precision == "fp32" else scratch / "full_encoder.onnx"
    decoder = scratch / "full_decoder.onnx" if job.precision == "fp16" else final.decoder
    return Pair(encoder, decoder)


def _require(comparison: Comparison, job: ExportJob) -> None:
    least, mean = LEAST_MEAN_IOU[job.precision], comparison.overall.mean_iou
    if mean < least and not job.force:
        raise LossOfPrecision(
            f"Masks in {job.precision} agree with those of full precision to a mean IoU of {mean:.4f}; "
            f"at least {least} is needed, so nothing was published. Publish it nevertheless with --force."
        )
