"""Whether the store of uploads and embeddings can be used."""

import os
from pathlib import Path

from obstore.exceptions import BaseError

from frontend_api.storage.object_store import disk_of, open_store
from imgr.errors import CannotServe


def require_store(url: str) -> None:
    """Raise CannotServe if the store of a URL can't be used; a bucket isn't asked, and nothing is made."""
    folder = existing_folder(url)
    if folder is not None:
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise CannotServe(f"IMGR_STORE is {url}, but {folder} is no folder in which this user may write")
        return
    try:
        open_store(url)
    except (BaseError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CannotServe(f"the store that IMGR_STORE names, {url}, can't be opened: {reason}") from error


def existing_folder(url: str) -> Path | None:
    """Return where a store of local files lies: its folder, or the nearest above that is there; None for others."""
    folder = disk_of(url)
    if folder is None:
        return None
    # Not Path.exists, which raises where a folder above may not be entered.
    return next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110
