"""PatientInference: a model server that died a moment ago is waited for."""

import asyncio

import pytest

from frontend_api.errors import Saturated, TritonUnavailable, VersionGone
from frontend_api.model.progress import Progress
from frontend_api.segmentation import patience
from frontend_api.segmentation.patience import PatientInference


class Server:
    """Answers with what `answers` says, in turn, and then with its last."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def decode(self, version, embedding, prompt):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.001)


async def test_a_server_that_died_is_asked_until_it_is_back():
    server = Server(TritonUnavailable("dead"), TritonUnavailable("dead"), "masks")
    assert await PatientInference(server, Progress(60), 10).decode(1, None, None) == "masks"
    assert server.asked == 3


async def test_a_server_that_stays_away_is_given_up_and_then_fails_at_once():
    server = Server(TritonUnavailable("dead"))
    inference = PatientInference(server, Progress(60), 0.02)
    with pytest.raises(TritonUnavailable):
        await inference.decode(1, None, None)
    asked = server.asked
    assert asked > 1
    with pytest.raises(TritonUnavailable):
        await inference.decode(1, None, None)
    assert server.asked == asked + 1


@pytest.mark.parametrize("error", [VersionGone("replaced"), Saturated("full")])
async def test_what_no_waiting_mends_is_told_at_once(error):
    server = Server(error, "masks")
    with pytest.raises(type(error)):
        await PatientInference(server, Progress(60), 10).decode(1, None, None)


async def test_a_request_that_alone_cannot_be_answered_is_given_up():
    server = Server(TritonUnavailable("this one"))
    inference = PatientInference(server, Progress(60), 10)
    alone = asyncio.create_task(inference.decode(1, None, None))
    await asyncio.sleep(0)
    server.answers = ["masks", TritonUnavailable("this one")]
    assert await inference.decode(1, None, None) == "masks"
    with pytest.raises(TritonUnavailable):
        await alone
