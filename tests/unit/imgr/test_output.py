from pathlib import Path

import pytest
from structlog.testing import capture_logs

from imgr.triton import output
from imgr.triton.output import Failures, TritonOutput

FAILURE = (
    r"failed to load 'sam_encoder' version 2: Internal: it is broken\n\nAt:\n  /home/me/model.py(38): initialize\n"
)


def line(level, message):
    return f'{level}1123 12:27:22.535523 19791 server.cc:241] "{message}"'


def told(*lines, to=None):
    to = to or TritonOutput(Failures(Path("/models")))
    with capture_logs() as logs:
        for each in lines:
            to.take(each)
    return [(entry["log_level"], entry["event"]) for entry in logs]


@pytest.mark.parametrize(("letter", "level"), [("E", "error"), ("F", "error"), ("W", "warning"), ("I", "debug")])
def test_a_message_is_passed_on_at_its_level(letter, level):
    assert told(line(letter, "so it is")) == [(level, "so it is")]


def test_what_became_of_a_model_is_worth_telling():
    assert told(line("I", "successfully loaded 'sam_encoder'")) == [("info", "successfully loaded 'sam_encoder'")]


def test_lines_of_another_form_are_not_swallowed():
    assert told("Traceback (most recent call last):") == [("info", "Traceback (most recent call last):")]


def test_tables_and_empty_lines_are_left_out():
    assert told("+---+---+", "| Model | Version |", "") == []


def test_the_absence_of_a_gpu_is_no_error():
    assert told(line("E", "CudaDriverHelper has not been initialized.")) == []


def test_a_failure_is_told_without_the_place_in_our_code():
    assert told(line("E", FAILURE)) == [("error", "failed to load 'sam_encoder' version 2: Internal: it is broken")]


def test_a_failure_that_repeats_every_second_is_told_once_a_minute(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(output, "monotonic", lambda: now[0])
    triton = TritonOutput(Failures(Path("/models")))
    assert len(told(*[line("E", FAILURE)] * 5, line("E", "another"), to=triton)) == 2
    now[0] += 61
    assert len(told(line("E", FAILURE), to=triton)) == 1


def test_a_failure_after_a_success_is_news():
    assert len(told(line("E", FAILURE), line("I", "successfully loaded 'sam_encoder'"), line("E", FAILURE))) == 3


TYPO = "Poll failed for model directory 'sam_decoder': failed to read text proto from /models/sam_decoder/config.pbtxt"


def failing(*messages):
    failures = Failures(Path("/models"))
    for message in messages:
        failures.take(message)
    return failures.current()


def test_a_version_that_cannot_be_loaded_is_a_failure_until_its_model_is_loaded():
    told = ("failed to load 'sam_encoder' version 2: Internal: it is broken", "successfully loaded 'sam_decoder'")
    assert failing(*told) == {"sam_encoder/2": "Internal: it is broken"}
    assert failing(*told, "successfully loaded 'sam_encoder'") == {}


def test_a_model_without_a_version_to_load_is_a_failure():
    message = "failed to load model 'sam_encoder': at least one version must be available"
    assert failing(message) == {"sam_encoder": "at least one version must be available"}


def test_a_folder_that_cannot_be_read_is_a_failure_as_long_as_it_is_told(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(output, "monotonic", lambda: now[0])
    failures = Failures(Path("/models"))
    failures.take(TYPO)
    assert failures.current() == {"sam_decoder": "failed to read text proto from sam_decoder/config.pbtxt"}
    now[0] += 4
    failures.take(TYPO)
    now[0] += 4
    assert len(failures.current()) == 1
    now[0] += 4
    assert failures.current() == {}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/models/sam_encoder", "sam_encoder"),
        ("/models/sam_encoder/2", "sam_encoder/2"),
        ("/models/sam_encoder/2/model.onnx", "sam_encoder/2"),
        ("/models/sam_encoder/config.pbtxt", "sam_encoder"),
    ],
)
def test_what_cannot_be_read_is_a_failure_of_the_model_or_the_version(path, name):
    reason = "Internal: failed to open directory"
    message = f"Failed to determine modification time for '{path}': {reason} {path}"
    assert failing(message) == {name: f"{reason} {path.removeprefix('/models/')}"}
    told = "failed to load 'sam_encoder' version 2: Internal: it is broken"
    assert failing(told, message)["sam_encoder/2"] == "Internal: it is broken"


def test_it_knows_whether_the_server_listens():
    triton = TritonOutput(Failures(Path("/models")))
    told(line("I", "Collecting CPU metrics"), to=triton)
    assert not triton.listening
    told(line("I", "Started HTTPService at 127.0.0.1:8000"), to=triton)
    assert triton.listening
    told(line("E", "failed to start HTTP service: Unavailable - Socket '127.0.0.1:8000' already in use"), to=triton)
    assert not triton.listening
