"""``python -m imgr``."""

from imgr.cli import app

app()
