"""The adapter's settings as the command line changes them."""

from pathlib import Path

from pydantic import ValidationError

from frontend_api.settings import Settings
from imgr.errors import CannotServe


def read_settings(*, model_repository: Path | None = None, triton_url: str | None = None) -> Settings:
    """Return the settings of the environment, but for what is given. Raises CannotServe for a value out of order."""
    changes = {"model_repository": model_repository, "triton_url": triton_url}
    try:
        return Settings.model_validate({name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        raise CannotServe(f"IMGR_{str(problem['loc'][0]).upper()}: {problem['msg']}") from error
