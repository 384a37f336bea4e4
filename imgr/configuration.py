"""The adapter's settings as the command line changes them."""

from pathlib import Path

from pydantic import ValidationError

from frontend_api.settings import Settings
from imgr.errors import CannotServe

_SHARED_MEMORY_BYTES = 64 * 2**20


def read_settings(model_repository: Path | None = None) -> Settings:
    """Return the settings of the environment, `model_repository` instead of IMGR_MODEL_REPOSITORY if it is given.

    Raises CannotServe for a value out of order.
    """
    changes = {} if model_repository is None else {"model_repository": model_repository}
    try:
        return Settings.model_validate(changes)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]).upper()
        raise CannotServe(f"{name if name.startswith('SAM_') else f'IMGR_{name}'}: {problem['msg']}") from error


def with_own_triton(settings: Settings, address: str) -> Settings:
    """Return the settings for a Triton beside the adapter, with which it shares memory unless told otherwise."""
    changes: dict[str, object] = {"triton_url": address}
    if "triton_shared_memory_bytes" not in settings.model_fields_set:
        changes["triton_shared_memory_bytes"] = _SHARED_MEMORY_BYTES
    return settings.model_copy(update=changes)
