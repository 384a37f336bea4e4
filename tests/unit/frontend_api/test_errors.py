"""What clients read has one style: a sentence without a capital or a full stop, which can follow a colon."""

import ast
from pathlib import Path

import frontend_api
from frontend_api import errors

NAMES = {name for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, errors.ServiceError)}


def messages():
    for path in Path(frontend_api.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in NAMES and node.args:
                yield path.name, ast.unparse(node.args[0])


def test_every_message_is_in_one_style():
    found = list(messages())
    assert len(found) > 30
    for where, message in found:
        words = message.lstrip("f").strip("'\"")
        assert not words[0].isupper(), f"{where}: {message}"
        assert not words.endswith("."), f"{where}: {message}"
