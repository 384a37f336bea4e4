"""Progress: who was asked and has answered nothing since."""

import asyncio

import pytest

from frontend_api.errors import InferenceTimeout, Saturated, TritonUnavailable, VersionGone
from frontend_api.model import progress as module
from frontend_api.model.progress import Progress


@pytest.fixture(autouse=True)
def _suspicious_at_once(monkeypatch):
    monkeypatch.setattr(module, "_SUSPICIOUS_SECONDS", -1)


def test_a_model_is_silent_while_it_is_asked_and_not_once_it_has_answered():
    progress = Progress(-1)
    with progress.asked("sam_decoder"):
        assert progress.hung() == {"sam_decoder"}
    assert progress.hung() == set()


def test_an_answer_to_one_starts_the_silence_of_the_others_anew():
    progress = Progress(-1)
    with progress.asked("sam_encoder"):
        since = progress._silent_since["sam_encoder"]
        with progress.asked("sam_encoder"):
            pass
        assert progress._silent_since["sam_encoder"] > since


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (Saturated("full"), True),
        (VersionGone("replaced"), True),
        (TritonUnavailable("its process is not healthy"), False),
        (InferenceTimeout("slow"), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_a_refusal_is_an_answer_a_failure_is_none(error, answered):
    progress = Progress(-1)

    def ask():
        with progress.asked("sam_decoder"):
            assert progress.given_up() == set()
            raise error

    with pytest.raises(type(error)):
        ask()
    assert progress.hung() == (set() if answered else {"sam_decoder"})
    assert progress.given_up() == progress.hung()
