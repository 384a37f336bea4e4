"""Object stores by URL."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

MARKER = ".imgr-store"
"""A file that lies in a store of local files as long as it is there, even empty."""

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")


def open_store(url: str) -> ObjectStore:
    """Return the store of a URL such as ``file:///…``, ``memory:///`` or ``s3://bucket/prefix``.

    Credentials and endpoint of a bucket come from the environment variables that its tools know, such as ``AWS_*``.
    """
    if url.startswith("file:"):
        store = from_url(url, mkdir=True, automatic_cleanup=True)  # a folder goes with its last file
        store.put(MARKER, b"While this file is gone, Imgr takes its store to be away.\n")
        return store
    # A person waits: what a few tries do not bring is told as 503.
    return from_url(url, retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)})


def disk_of(url: str) -> Path | None:
    """Return the folder of a store of local files, None for other stores: a bucket doesn't say how full it is."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


async def is_away(store: ObjectStore, missing: Exception | None = None) -> bool:
    """Tell whether a whole store has gone, such as a network file system that dropped out.

    Args:
        store: one that `open_store` has opened.
        missing: the store's answer that an object is not there, if there was one.
    """
    if not isinstance(store, LocalStore):
        return any(words in str(missing) for words in _NO_BUCKET)
    try:
        await store.head_async(MARKER)
    except (NotFoundError, FileNotFoundError):
        return True
    return False
