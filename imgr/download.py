"""Official checkpoints: fetched whole or not at all, checked against their pinned SHA-256."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from imgr.errors import DownloadFailed


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint."""

    url: str
    sha256: str

    @property
    def filename(self) -> str:
        """The name it is published under."""
        return self.url.rpartition("/")[2]


CHECKPOINTS = {
    "vit_h": Checkpoint(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "vit_l": Checkpoint(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_b": Checkpoint(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_t": Checkpoint(
        "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
}

Progress = Callable[[int, int | None], None]


def download(variant: str, folder: Path, progress: Progress) -> Path:
    """Fetch a variant's official checkpoint into `folder`, going on where an earlier attempt was cut.

    Args:
        variant: a key of `CHECKPOINTS`.
        folder: created if need be.
        progress: told the bytes that are there and the bytes there will be, None while unknown.

    Raises:
        DownloadFailed: with what to do about it.
    """
    if variant not in CHECKPOINTS:
        raise DownloadFailed(f"there is no variant {variant!r}; choose one of {', '.join(CHECKPOINTS)}")
    return fetch(CHECKPOINTS[variant], folder, progress)


def fetch(checkpoint: Checkpoint, folder: Path, progress: Progress) -> Path:
    """Fetch one checkpoint; see `download`."""
    target = folder / checkpoint.filename
    part = target.with_name(f"{target.name}.part")
    try:
        if target.exists():
            _verify(target, checkpoint)
            return target
        folder.mkdir(parents=True, exist_ok=True)
        _receive(checkpoint, part, progress)
        _verify(part, checkpoint)
        part.rename(target)
    except httpx.HTTPError as error:
        raise DownloadFailed(
            f"{checkpoint.url} could not be fetched ({_reason(error)}); "
            f"run the command again to go on, or fetch the file by hand and put it at {target}"
        ) from error
    except OSError as error:
        raise DownloadFailed(f"{error.filename or part} can't be used: {error.strerror}") from error
    return target


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answered {error.response.status_code} {error.response.reason_phrase}"
    return str(error) or type(error).__name__


def _receive(checkpoint: Checkpoint, part: Path, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with _client() as client, client.stream("GET", checkpoint.url, headers=headers) as answer:
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to fetch; the hash tells whether that is right
        answer.raise_for_status()
        if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
            done = 0  # the server sends everything again
        elif not answer.headers.get("content-range", "").startswith(f"bytes {done}-"):
            raise DownloadFailed(
                f"{checkpoint.url}: the server sent another part of the file than the one asked for; "
                f"remove {part} and run the command again"
            )
        length = answer.headers.get("content-length")
        total = done + int(length) if length else None
        folder = part.parent.resolve()
        free = shutil.disk_usage(folder).free
        if total is not None and total - done > free:
            raise DownloadFailed(
                f"{total - done} bytes are still to come but only {free} are free in {folder}; make room first"
            )
        with part.open("ab" if done else "wb") as file:
            for chunk in answer.iter_raw():
                file.write(chunk)
                done += len(chunk)
                progress(done, total)


def _client() -> httpx.Client:
    """Return a client that uses the proxies of the environment."""
    try:
        return httpx.Client(follow_redirects=True, timeout=30)
    except ValueError as error:
        raise DownloadFailed(f"the proxy that the environment names can't be used: {error}") from error


def _verify(path: Path, checkpoint: Checkpoint) -> None:
    """Raise DownloadFailed and set the file aside if it is not the one that was pinned."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checkpoint.sha256:
        aside = path.with_name(f"{checkpoint.filename}.corrupt")
        path.replace(aside)
        raise DownloadFailed(
            f"{checkpoint.filename} has SHA-256 {found} instead of {checkpoint.sha256}; "
            f"it was set aside as {aside}; run the command again"
        )
