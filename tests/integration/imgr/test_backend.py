"""The Python file that serves ONNX models under the name of Triton's own backend."""

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

pytestmark = pytest.mark.triton


def outputs(answer):
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def at_once(requests):
    """Send requests at the same time and return their answers in order."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return [future.result() for future in [pool.submit(request) for request in requests]]


def test_a_model_answers_as_its_graph_says(tiny_triton):
    answer = outputs(tiny_triton.infer("tiny", [[1, 2, 3, 4], [5, 6, 7, 8]], [[3], [0]]))
    assert answer == {"doubled": [2, 4, 6, 8, 10, 12, 14, 16], "picked": [4, 5], "batch": [2, 2]}


def test_only_the_requested_outputs_are_returned(tiny_triton):
    assert outputs(tiny_triton.infer("tiny", [[1, 2, 3, 4]], outputs=["picked"])) == {"picked": [1]}


def test_requests_that_arrive_together_are_computed_together_and_answered_apart(tiny_triton):
    executions = tiny_triton.counter("nv_inference_exec_count", "patient")
    rows = [[[i, 0, 0, 0]] * (1 + i % 2) for i in range(5)]  # one or two rows each: 7 in all
    answers = at_once([lambda each=each: outputs(tiny_triton.infer("patient", each)) for each in rows])
    for i, answer in enumerate(answers):
        assert answer["doubled"] == [2 * i, 0, 0, 0] * (1 + i % 2)
        assert answer["picked"] == [i] * (1 + i % 2)
    batches = [answer["batch"][0] for answer in answers]
    assert max(batches) == 7, batches
    assert tiny_triton.counter("nv_inference_exec_count", "patient") - executions < 5


def test_a_batch_is_computed_in_parts_where_the_configuration_says_so(tiny_triton):
    executions = tiny_triton.counter("nv_inference_exec_count", "thrifty")
    rows = [[[i, 0, 0, 0]] for i in range(5)]
    answers = at_once([lambda each=each: outputs(tiny_triton.infer("thrifty", each)) for each in rows])
    assert [answer["doubled"][0] for answer in answers] == [0, 2, 4, 6, 8]
    assert max(answer["batch"][0] for answer in answers) == 2
    assert tiny_triton.counter("nv_inference_exec_count", "thrifty") - executions < 3  # fewer than the parts


def test_the_parts_of_a_batch_are_computed_side_by_side_where_the_configuration_says_so(tiny_triton):
    executions = tiny_triton.counter("nv_inference_exec_count", "parallel")
    rows = [[[i, 0, 0, 0]] * (1 + i % 2) for i in range(5)]
    answers = at_once([lambda each=each: outputs(tiny_triton.infer("parallel", each)) for each in rows])
    for i, answer in enumerate(answers):
        assert answer["doubled"] == [2 * i, 0, 0, 0] * (1 + i % 2)
        assert answer["batch"] == [1 + i % 2] * (1 + i % 2)  # none was joined to another
    assert tiny_triton.counter("nv_inference_exec_count", "parallel") - executions < 5


def test_requests_of_one_batch_may_ask_for_different_outputs(tiny_triton):
    wanted = [["batch", "doubled"], ["batch"], ["picked", "batch"]]
    answers = at_once(
        [lambda names=names: outputs(tiny_triton.infer("patient", [[1, 2, 3, 4]], outputs=names)) for names in wanted]
    )
    assert [set(answer) for answer in answers] == [set(names) for names in wanted]
    assert max(answer["batch"][0] for answer in answers) > 1


@pytest.mark.parametrize("model", ["patient", "parallel"])
def test_a_request_that_fails_does_not_spoil_its_batch(tiny_triton, model):
    good, bad = ([[1, 2, 3, 4]], [[1]]), ([[1, 2, 3, 4]], [[99]])
    answers = at_once([lambda each=each: tiny_triton.infer(model, *each) for each in (good, bad, good)])
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert outputs(answers[0])["picked"] == outputs(answers[2])["picked"] == [2]
    assert "Out of range" in answers[1].json()["error"]


def test_a_model_is_as_nice_as_its_configuration_says(tiny_triton):
    niceness = {}
    for process in psutil.Process(tiny_triton.supervisor.pid).children(recursive=True):
        for model in ("tiny", "patient"):
            if any(f"/{model}/1/" in word for word in process.cmdline()):
                niceness[model] = process.nice()
    usual = psutil.Process().nice()
    assert niceness == {"tiny": usual, "patient": usual + 7}
