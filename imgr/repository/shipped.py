"""Which versions a clone ships: those whose files git tracks."""

import subprocess
from pathlib import Path

from imgr.repository.layout import MODELS


def shipped_versions(repository: Path) -> set[int]:
    """Return the versions that git tracks in `repository`; none where it lies in no clone, or git is not installed."""
    try:
        listing = subprocess.run(
            ["git", "-C", repository, "ls-files", "-z", "--", *MODELS], capture_output=True, text=True, check=False
        )
    except OSError:
        return set()
    folders = (Path(name).parts[1] for name in listing.stdout.split("\0") if name)
    return {int(folder) for folder in folders if folder.isdecimal()}
