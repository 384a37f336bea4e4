"""From a checkpoint file to a published pair of graphs."""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path

from export import checkpoint as checkpoints
from export import metadata as properties
from export.graphs import write_decoder, write_encoder
from export.publication import Publication, sha256, staging
from export.verification import verify

PRECISION = "fp32"

Progress = Callable[[str, float], None]


def export_checkpoint(path: Path, repository: Path, progress: Progress) -> Publication:
    """See `export.export`."""
    progress(f"Reading {path.name}", 0.0)
    checkpoint = checkpoints.load(path)
    identity = checkpoint.identity(PRECISION)
    metadata = {
        properties.VARIANT: str(checkpoint.architecture),
        properties.PRECISION: PRECISION,
        properties.IDENTITY: identity,
        properties.CHECKPOINT: path.name,
        properties.CHECKPOINT_SHA256: sha256(path),
        properties.EXPORTED_AT: datetime.now(UTC).isoformat(timespec="seconds"),
        properties.IMGR_VERSION: package_version("imgr"),
        properties.EXPORT_FORMAT: str(properties.FORMAT_VERSION),
    }
    progress("Preparing the model repository", 0.1)
    with staging(repository) as stage:
        encoder, decoder = stage.graph("sam_encoder"), stage.graph("sam_decoder")
        progress(f"Writing the encoder of {checkpoint.architecture}", 0.15)
        write_encoder(checkpoint.sam, identity, metadata, encoder)
        progress("Writing the decoder", 0.4)
        write_decoder(checkpoint.sam, identity, metadata, decoder)
        progress("Comparing ONNX Runtime with PyTorch", 0.5)
        verify(checkpoint.sam, encoder, decoder, identity)
        progress("Publishing", 0.95)
        publication = Publication(stage.publish(), identity)
    progress(f"Published {identity} as version {publication.version}", 1.0)
    return publication
