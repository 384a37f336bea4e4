"""What a running Triton serves of a repository, and telling it that the repository has changed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx

from frontend_api.settings import Settings
from frontend_api.triton.addresses import addresses_of
from imgr.errors import RepositoryError
from imgr.repository.layout import MODELS
from imgr.triton.workspace import announced

_LOAD_SECONDS = 600.0  # a ViT-H is read, prepared and warmed up meanwhile


def external_tritons(settings: Settings) -> list[str]:
    """Return ``host:port`` of every Triton that IMGR_TRITON_URL names. Raises RepositoryError for an unknown name."""
    addresses: set[str] = set()
    for name in settings.triton_url.split(",") if settings.names_triton else []:
        try:
            addresses |= asyncio.run(addresses_of(name))
        except (OSError, ValueError) as error:
            raise RepositoryError(f"{name}, which IMGR_TRITON_URL names, is no address: {error}") from error
    return sorted(addresses)


def served_versions(settings: Settings) -> set[int]:
    """Return what the external Tritons serve, or what every `imgr serve` of this user serves from the repository.

    Raises RepositoryError if an external one does not answer.
    """
    if urls := external_tritons(settings):
        served = {served_version(urls)}
    else:
        served = {_served_here(port) for port in announced(settings.model_repository)}
    return {version for version in served if version is not None}


def served_version(urls: list[str]) -> int | None:
    """Return the newest version that all these Tritons hold ready in both models, None if there is none.

    Raises RepositoryError if one does not answer.
    """
    ready: list[set[int]] = []
    for url in urls:
        answer = _asked(url, "v2/repository/index", 5, json={"ready": True})
        if answer.is_error:
            raise RepositoryError(f"Triton at {url} does not list its models: {answer.status_code}")
        with _spoken_by_triton(url):
            entries = answer.json()
            ready += [{int(entry["version"]) for entry in entries if entry["name"] == model} for model in MODELS]
    return max(set.intersection(*ready), default=None)


def reload(url: str, version: int) -> None:
    """Have a Triton in explicit mode serve `version`, the newest of its repository; one that polls needs no telling.

    It loads what is new before it unloads what is gone, so it never stops serving.

    Raises:
        RepositoryError: if it does not answer, or can't load the version, with the reason.
    """
    for model in MODELS:
        answer = _asked(url, f"v2/repository/models/{model}/load", _LOAD_SECONDS)
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE and "is not allowed if polling" in answer.text:
            return
        if answer.status_code != HTTPStatus.OK:
            with _spoken_by_triton(url):
                reason = str(answer.json()["error"]).partition("\n\n")[0]  # no traceback
            raise RepositoryError(
                f"Triton at {url} could not load {model} and goes on serving what it served: {reason.strip()}"
            )
    served = served_version([url])
    if served != version:
        raise RepositoryError(
            f"Triton at {url} serves version {served} though version {version} is the newest; "
            "does it serve another folder than this repository?"
        )


def reload_all(urls: list[str], version: int) -> None:
    """Have all these Tritons serve `version` as `reload` does; none is left out because another one failed.

    Raises:
        RepositoryError: naming everything that went wrong.
    """
    problems = []
    for url in urls:
        try:
            reload(url, version)
        except RepositoryError as error:
            problems.append(str(error))
    if problems:
        raise RepositoryError(f"{'; '.join(problems)}; when that is mended, `imgr reload` tells them again")


def _asked(url: str, path: str, timeout: float, json: object = None) -> httpx.Response:
    try:
        return httpx.post(f"http://{url}/{path}", json=json, timeout=timeout, trust_env=False)
    except httpx.HTTPError as error:
        raise RepositoryError(f"the Triton that IMGR_TRITON_URL names, {url}, does not answer: {error}") from error


@contextmanager
def _spoken_by_triton(url: str) -> Iterator[None]:
    """Raise RepositoryError for an answer that a Triton would not give."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise RepositoryError(f"what answers at {url}, which IMGR_TRITON_URL names, is no Triton") from error


def _served_here(port: int) -> int | None:
    try:
        return served_version([f"127.0.0.1:{port}"])
    except RepositoryError:  # it is just starting, or ending
        return None
