"""Object stores by URL."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.store import ObjectStore, from_url


def open_store(url: str) -> ObjectStore:
    """Return the store of a URL such as ``file:///…``, ``memory:///`` or ``s3://bucket/prefix``.

    Credentials and endpoint of a bucket come from the environment variables that its tools know, such as ``AWS_*``.
    """
    if url.startswith("file:"):
        return from_url(url, mkdir=True, automatic_cleanup=True)  # a folder goes with its last file
    # A person waits: what a few tries do not bring is told as 503.
    return from_url(url, retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)})


def disk_of(url: str) -> Path | None:
    """Return the folder of a store of local files, None for other stores: a bucket doesn't say how full it is."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
