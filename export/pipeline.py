"""From a checkpoint file to a published pair of graphs."""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path

from export import Precision
from export import checkpoint as checkpoints
from export import metadata as properties
from export.comparison import Comparison, Pair, compare
from export.errors import LossOfPrecision
from export.graphs import decoder_graph, encoder_graph, save, store_exact_halves
from export.half import halve
from export.pictures import frames
from export.publication import Publication, Staging, sha256, staging
from export.quantization import quantize
from export.smoothing import smoothed
from export.verification import verify

# Mean IoU with the masks of full precision, below which a graph is refused.
LEAST_MEAN_IOU = {"fp16": 0.99, "int8": 0.95}

Progress = Callable[[str, float], None]
Report = Callable[[Comparison], None]


def export_checkpoint(
    path: Path,
    repository: Path,
    *,
    precision: Precision,
    pictures: Path | None,
    force: bool,
    progress: Progress,
    report: Report,
) -> Publication:
    """See `export.export`."""
    progress(f"Reading {path.name}", 0.0)
    checkpoint = checkpoints.load(path)
    identity = checkpoint.identity(precision)
    metadata = {
        properties.VARIANT: str(checkpoint.architecture),
        properties.PRECISION: precision,
        properties.IDENTITY: identity,
        properties.CHECKPOINT: path.name,
        properties.CHECKPOINT_SHA256: sha256(path),
        properties.EXPORTED_AT: datetime.now(UTC).isoformat(timespec="seconds"),
        properties.IMGR_VERSION: package_version("imgr"),
        properties.EXPORT_FORMAT: str(properties.FORMAT_VERSION),
    }
    examples = [] if precision == "fp32" else frames(pictures)
    progress("Preparing the model repository", 0.1)
    with staging(repository) as stage:
        sam = checkpoint.sam
        if precision == "int8":
            progress("Running the encoder on the pictures", 0.12)
            sam = smoothed(sam, examples)
        final = Pair(stage.graph("sam_encoder"), stage.graph("sam_decoder"))
        full = _full_precision(final, stage, precision)
        progress(f"Writing the encoder of {checkpoint.architecture}", 0.15)
        encoder = encoder_graph(sam, identity, metadata)
        progress("Writing the decoder", 0.3)
        decoder = decoder_graph(sam, identity, metadata)
        for graph, file in ((encoder, full.encoder), (decoder, full.decoder)):
            if file in (final.encoder, final.decoder):
                store_exact_halves(graph)
            save(graph, file)
        progress("Comparing ONNX Runtime with PyTorch", 0.4)
        verify(checkpoint.sam, full.encoder, full.decoder, identity)
        if precision != "fp32":
            progress(f"Converting to {precision}", 0.6)
            if precision == "fp16":
                halve(full.encoder, final.encoder)
                halve(full.decoder, final.decoder)
            else:
                quantize(full.encoder, final.encoder)
            progress(f"Comparing masks with those of full precision on {len(examples)} pictures", 0.7)
            comparison = compare(full, final, examples)
            report(comparison)
            _require(comparison, precision, force=force)
        progress("Publishing", 0.95)
        publication = Publication(stage.publish(), identity)
    progress(f"Published {identity} as version {publication.version}", 1.0)
    return publication


def _full_precision(final: Pair, stage: Staging, precision: Precision) -> Pair:
    """Return where the float32 graphs go: what is not published is removed with the staging folder."""
    encoder = final.encoder if precision == "fp32" else stage.graph("full_encoder")
    decoder = stage.graph("full_decoder") if precision == "fp16" else final.decoder
    return Pair(encoder, decoder)


def _require(comparison: Comparison, precision: Precision, *, force: bool) -> None:
    least, mean = LEAST_MEAN_IOU[precision], comparison.overall.mean_iou
    if mean < least and not force:
        raise LossOfPrecision(
            f"Masks in {precision} agree with those of full precision to a mean IoU of {mean:.4f}; at least {least} is "
            "needed, so nothing was published. Publish it nevertheless with --force."
        )
