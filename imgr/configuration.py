"""The adapter's settings as the command line changes them."""

import os
from pathlib import Path

from pydantic import ValidationError

from frontend_api.settings import Settings
from imgr.errors import CannotServe

_SHARED_MEMORY_BYTES = 64 * 2**20


def read_settings(*, model_repository: Path | None = None, own_triton: str | None = None) -> Settings:
    """Return the settings of the environment, but for what is given. Raises CannotServe for a value out of order.

    Args:
        model_repository: instead of IMGR_MODEL_REPOSITORY.
        own_triton: host:port of a Triton beside the adapter, with which it shares memory unless told otherwise.
    """
    changes: dict[str, object] = {"model_repository": model_repository, "triton_url": own_triton}
    if own_triton is not None and "IMGR_TRITON_SHARED_MEMORY_BYTES" not in os.environ:
        changes["triton_shared_memory_bytes"] = _SHARED_MEMORY_BYTES
    try:
        return Settings.model_validate({name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        raise CannotServe(f"IMGR_{str(problem['loc'][0]).upper()}: {problem['msg']}") from error
