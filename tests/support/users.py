"""Running a command as another user, for what a container would run as such."""

import functools
import subprocess


@functools.cache
def as_user(uid: str) -> tuple[str, ...]:
    """Return the words before a command that make it run as `uid`, none where we may not become somebody else.

    The user may read everything, as the files of an image are readable, and write only what is its own.
    """
    command = (
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
        *(f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
    )  # fmt: skip
    try:
        possible = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        possible = False
    return command if possible else ()
