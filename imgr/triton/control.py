"""What a running Triton serves of a repository, and telling it that the repository has changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from frontend_api.errors import NoTriton, ServiceError
from frontend_api.inference import MODEL_NAMES
from frontend_api.settings import Settings
from frontend_api.triton.addresses import addresses_of
from frontend_api.triton.client import TritonClient
from imgr.errors import RepositoryError
from imgr.triton.workspace import announced

_LOAD_SECONDS = 600.0  # a ViT-H is read, prepared and warmed up meanwhile
_LOOK_SECONDS = 5.0


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
    return max(set.intersection(*(asyncio.run(_ready(url)) for url in urls)), default=None)


def reload(url: str, version: int) -> None:
    """Have a Triton in explicit mode serve `version`, the newest of its repository; one that polls needs no telling.

    Raises:
        RepositoryError: if it does not answer, or can't load the version, with the reason.
    """
    if asyncio.run(_polls(url)):
        return
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


async def _ready(url: str) -> set[int]:
    """Return the versions that a Triton holds ready in both models."""
    async with _asked(url) as triton, asyncio.timeout(_LOOK_SECONDS):
        states = await triton.versions()
    return set.intersection(
        *({version for version, state in states[name].items() if state.ready} for name in MODEL_NAMES)
    )


async def _polls(url: str) -> bool:
    """Tell whether a Triton looks for new versions by itself; if not, it has loaded those of both models."""
    async with _asked(url) as triton:
        for model in MODEL_NAMES:
            reason = await triton.load(model)
            if "is not allowed if polling" in reason:
                return True
            if reason:
                raise RepositoryError(
                    f"Triton at {url} could not load {model} and goes on serving what it served: {reason}"
                )
    return False


@asynccontextmanager
async def _asked(url: str) -> AsyncIterator[TritonClient]:
    """Provide a client whose failures become RepositoryError."""
    client = TritonClient(url, _LOAD_SECONDS)
    try:
        yield client
    except NoTriton as error:
        raise RepositoryError(f"what answers at {url}, which IMGR_TRITON_URL names, is no Triton") from error
    except (ServiceError, TimeoutError) as error:
        raise RepositoryError(f"the Triton that IMGR_TRITON_URL names, {url}, does not answer") from error
    finally:
        await client.close()


def _served_here(port: int) -> int | None:
    try:
        return served_version([f"127.0.0.1:{port}"])
    except RepositoryError:  # it is just starting, or ending
        return None
