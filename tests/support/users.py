"""Running a command as another user, or with fewer rights."""

import functools
import subprocess


@functools.cache
def as_user(uid: str) -> tuple[str, ...]:
    """Return the words before a command that make it run as `uid`, none where we may not become somebody else.

    The user may read everything, as the files of an image are readable, and write only what is its own.
    """
    return _possible(
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
        *(f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
    )  # fmt: skip


@functools.cache
def without_privileges() -> tuple[str, ...]:
    """Return the words before a command that make it run without root's right to read everything."""
    return _possible("setpriv", *(f"--{kind}=-all" for kind in ("inh-caps", "ambient-caps", "bounding-set")))


def _possible(*command: str) -> tuple[str, ...]:
    try:
        possible = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        possible = False
    return command if possible else ()
