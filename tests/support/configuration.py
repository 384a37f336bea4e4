"""docs/configuration.md as the settings class has it; run as a module, this prints it."""

from pydantic_core import PydanticUndefined

from frontend_api.settings import Settings

HEAD = """# Configuration

Environment variables, read once at start. This page is made from the settings class by `make configuration`.

| variable | default | |
|---|---|---|
"""
# Defaults that are no plain values.
IN_WORDS = {"store": "`data/store` in the working directory"}


def page():
    """Return the page."""
    return HEAD + "".join(
        f"| `{variable(name)}` | {default(name)} | {field.description} |\n" for name, field in fields()
    )


def fields():
    return Settings.model_fields.items()


def variable(name):
    return Settings.model_fields[name].validation_alias or f"IMGR_{name.upper()}"


def default(name):
    value = Settings.model_fields[name].default
    if name in IN_WORDS:
        return IN_WORDS[name]
    if value is None or value == () or value is PydanticUndefined:
        return ""
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    print(page(), end="")
