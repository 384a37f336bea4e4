"""A checkpoint's file, looked for before anything slow is loaded to read it."""

from pathlib import Path

from imgr.errors import ExportFailed


def require_checkpoint(path: Path) -> None:
    """Raise ExportFailed if there is no such file."""
    if not path.is_file():
        raise ExportFailed(f"there is no checkpoint at {path}; `imgr download vit_b` fetches one")
