"""Triton's log, told again in ours."""

import re
from math import inf
from pathlib import Path
from time import monotonic

import structlog

log = structlog.stdlib.get_logger("triton")

# I1123 12:27:22.535523 19791 server.cc:241] "message"
_LINE = re.compile(r'(?P<level>[IWEF])\d{4} \S+ \d+ \S+:\d+\] ?"?(?P<message>.*?)"?$')
_TABLE = re.compile(r"$|\+-|\|")  # what Triton prints about itself at start
_NO_NEWS = (
    "CudaDriverHelper has not been initialized",  # there is no GPU
    "no pinned memory pool",  # likewise
    "Failed to create instance",  # told again with the model's name and version
)
_LISTENING, _NOT_LISTENING = "Started HTTPService", "failed to start "  # Triton says the one before it tries
_LOADED, _UNLOADED = "successfully loaded", "successfully unloaded"
_LOADED_MODEL = re.compile(r"successfully loaded '(?P<model>[^']+)'")
_CANNOT_LOAD = re.compile(r"failed to load (?:model )?'(?P<model>[^']+)'(?: version (?P<version>\d+))?: (?P<reason>.+)")
_CANNOT_POLL = re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.+)")
_CANNOT_READ = re.compile(r"Failed to determine modification time for '(?P<path>[^']+)': (?P<reason>.+)")
_FORGET_SECONDS = 5.0  # what can't be read is reported every second; that it can be again, never
_REPEAT_SECONDS = 60.0  # a model that can't be loaded is tried again, and reported, every second


class Failures:
    """What a polling Triton says it can't load and why, by ``model/version``, or ``model`` for the whole folder.

    Args:
        repository: left out of the reasons, which strangers may read.
    """

    def __init__(self, repository: Path) -> None:
        self._prefix = f"{repository.resolve()}/"
        self._reasons: dict[str, tuple[str, float]] = {}

    def take(self, message: str) -> None:
        """Learn from a line of Triton's."""
        if match := _LOADED_MODEL.match(message):
            for name in [name for name in self._reasons if name.partition("/")[0] == match["model"]]:
                del self._reasons[name]
        elif match := _CANNOT_LOAD.match(message):
            name = f"{match['model']}/{match['version']}" if match["version"] else match["model"]
            self._reasons[name] = (match["reason"].replace(self._prefix, ""), inf)
        elif match := _CANNOT_POLL.match(message):
            self._note_for_now(match["model"], match["reason"])
        elif (match := _CANNOT_READ.match(message)) and match["path"].startswith(self._prefix):
            model, *rest = match["path"].removeprefix(self._prefix).split("/")
            self._note_for_now(f"{model}/{rest[0]}" if rest and rest[0].isdecimal() else model, match["reason"])

    def _note_for_now(self, name: str, reason: str) -> None:
        if self._reasons.get(name, ("", 0.0))[1] < inf:
            self._reasons[name] = (reason.replace(self._prefix, ""), monotonic() + _FORGET_SECONDS)

    def current(self) -> dict[str, str]:
        """Return the reasons that hold now."""
        now = monotonic()
        return {name: reason for name, (reason, until) in self._reasons.items() if now < until}


class TritonOutput:
    """Passes lines on at their level, the same complaint at most once a minute.

    Args:
        failures: where what can't be loaded is noted.

    Attributes:
        listening: whether this server has come so far as to answer requests.
        last_words: its last error, or what it said last in no form of its own; empty if there was neither.
    """

    def __init__(self, failures: Failures) -> None:
        self._failures = failures
        self.listening = False
        self.last_words = ""
        self._told: dict[str, float] = {}

    def take(self, line: str) -> None:
        """Pass a line of Triton's output on."""
        match = _LINE.match(line)
        level, message = (match["level"], match["message"]) if match else ("", line)
        # A traceback that Triton appends names our own files; the message before it says what is wrong.
        message = message.partition(r"\n\nAt:\n")[0]
        if _TABLE.match(message):
            return
        self._failures.take(message)
        if level == "I":
            self.listening |= message.startswith(_LISTENING)
            if not message.startswith((_LISTENING, _LOADED, _UNLOADED)):
                log.debug(message)
                return
        elif any(words in message for words in _NO_NEWS):
            return
        elif level != "W":
            self.last_words = message
            self.listening &= not message.startswith(_NOT_LISTENING)
        if message.startswith(_LOADED):
            self._told.clear()  # whatever is said from now on is news
        if not self._repeats(message):
            {"E": log.error, "F": log.error, "W": log.warning}.get(level, log.info)(message)

    def _repeats(self, message: str) -> bool:
        now = monotonic()
        self._told = {each: told for each, told in self._told.items() if now - told < _REPEAT_SECONDS}
        if message in self._told:
            return True
        self._told[message] = now
        return False
