"""ModelService and ModelWatch: the newest version whose encoder and decoder carry one identity."""

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from frontend_api.errors import NoModelInService, TritonUnavailable
from frontend_api.metrics import Metrics
from frontend_api.model import progress
from frontend_api.model.progress import Progress
from frontend_api.model.served_model import ServedModel
from frontend_api.model.service import ModelService
from frontend_api.model.supervisor import Supervisor
from frontend_api.model.watch import ModelWatch
from tests.support.fake_inference import FakeInference

A, B = "vit_b/fp32/aaaa", "vit_b/fp16/bbbb"


async def at_once(_):
    """Prepare nothing."""


def watched(versions, prepare=at_once, handover=1.0, hang=60.0, supervisor=None):
    inference = FakeInference(versions)
    models = ModelService(inference, Metrics(), Progress(hang), patience=0.2, supervisor=supervisor)
    return inference, models, ModelWatch(models, prepare, interval=0.01, handover=handover)


async def served(watch):
    """Look once, and let what follows from it happen."""
    await watch.look()
    if watch._handover is not None:
        await watch._handover
    return watch._models.current


@pytest.mark.parametrize(
    ("models", "version", "identity"),
    [
        ({1: (A, A)}, 1, A),
        ({1: (A, A), 2: (B, B)}, 2, B),
        ({9: (A, A), 10: (B, B)}, 10, B),
    ],
)
async def test_the_newest_consistent_version_is_served(models, version, identity):
    _, _, watch = watched(models)
    assert await served(watch) == ServedModel(version, identity)


async def test_variant_and_precision_come_from_the_identity():
    _, _, watch = watched({1: (B, B)})
    model = await served(watch)
    assert (model.variant, model.precision) == ("vit_b", "fp16")


async def test_without_a_ready_version_the_error_says_so():
    _, _, watch = watched({})
    with pytest.raises(NoModelInService, match=r"no version is ready in both.*none"):
        await served(watch)


async def test_where_encoder_and_decoder_do_not_belong_together_both_are_named():
    _, models, watch = watched({3: (A, B)})
    contradicted = await served(watch)
    with pytest.raises(NoModelInService) as caught:
        await models.refresh(contradicted)
    assert all(words in str(caught.value) for words in ("version 3", A, B, "one checkpoint"))
    assert models.failures == {"pair/3": str(caught.value).partition(": ")[2]}


async def test_a_mismatch_gives_way_to_an_older_consistent_pair():
    _, models, watch = watched({1: (A, A), 2: (A, B)})
    contradicted = await served(watch)
    assert await models.refresh(contradicted) == ServedModel(1, A)
    assert list(models.failures) == ["pair/2"]


async def test_a_newer_mismatch_never_comes_into_service():
    inference, models, watch = watched({1: (A, A)})
    await served(watch)
    inference.models = {1: (A, A), 2: (A, B)}
    seen = set()
    for _ in range(20):
        await watch.look()
        seen.add(models.current.version)
        await asyncio.sleep(0.001)
    assert seen == {1}
    assert list(models.failures) == ["pair/2"]
    inference.models = {1: (A, A), 2: (B, B)}
    await asyncio.sleep(0.05)
    assert await served(watch) == ServedModel(2, B)
    assert models.failures == {}


async def test_a_newer_pair_takes_over_once_it_is_prepared():
    prepared = asyncio.Event()
    asked = []

    async def prepare(model):
        asked.append(model)
        await prepared.wait()

    inference, models, watch = watched({1: (A, A)}, prepare)
    await served(watch)
    assert asked == []
    inference.models = {1: (A, A), 2: (B, B)}
    for _ in range(5):
        await watch.look()
        await asyncio.sleep(0.001)
    assert models.current.version == 1
    assert asked == [ServedModel(2, B)]
    prepared.set()
    assert await served(watch) == ServedModel(2, B)


@pytest.mark.parametrize("left", [{2: (B, B)}, {1: (A, A)}])
async def test_what_goes_during_a_handover_ends_it(left):
    inference, models, watch = watched({1: (A, A)}, lambda _: asyncio.sleep(0.05))
    await served(watch)
    inference.models = {1: (A, A), 2: (B, B)}
    await watch.look()
    await asyncio.sleep(0.01)
    inference.models = left
    await watch.look()
    assert models.current.version in left
    await asyncio.sleep(0.1)
    assert models.current.version in left


async def test_preparations_that_take_too_long_are_not_waited_for():
    inference, _, watch = watched({1: (A, A)}, lambda _: asyncio.sleep(60), handover=0.02)
    await served(watch)
    inference.models = {1: (A, A), 2: (B, B)}
    assert (await served(watch)).version == 2


async def test_a_handover_whose_preparations_break_takes_place():
    async def prepare(_):
        raise RuntimeError("unforeseen")

    inference, _, watch = watched({1: (A, A)}, prepare)
    await served(watch)
    inference.models = {1: (A, A), 2: (B, B)}
    with capture_logs() as logs:
        assert (await served(watch)).version == 2
    assert "a newer model takes over unprepared" in [line["event"] for line in logs]


async def test_an_unforeseen_error_does_not_end_the_watch():
    inference, models, watch = watched({1: (A, A)})
    inference.error = RuntimeError("unforeseen")
    watching = asyncio.create_task(watch.run())
    with capture_logs() as logs:
        await asyncio.sleep(0.01)
        inference.error = None
        async with asyncio.timeout(2):
            while not models.reachable:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
    assert "the model server's answer was not understood" in [line["event"] for line in logs]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_failures_are_those_of_who_knows_better():
    told = {"sam_decoder": "failed to read text proto"}
    _, models, watch = watched({1: (A, A)}, supervisor=Supervisor(lambda: told, lambda: None))
    await served(watch)
    assert models.failures == told


async def test_a_silent_server_takes_the_model_out_of_service_and_its_return_brings_it_back():
    inference, models, watch = watched({1: (A, A)})
    await served(watch)
    inference.error = TritonUnavailable("nobody there")
    with pytest.raises(NoModelInService, match="nobody there"):
        await served(watch)
    assert not models.reachable
    inference.error = None
    assert (await served(watch)).version == 1


async def test_a_model_that_goes_is_a_warning_and_one_that_has_not_come_yet_is_none():
    inference, _, watch = watched({1: (A, A)})
    with capture_logs() as logs:
        for error in (
            TritonUnavailable("it starts"),
            None,
            TritonUnavailable("it died"),
            TritonUnavailable("it is still dead"),
        ):
            inference.error = error
            await watch.look()
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("no model in service", "info"),
        ("model in service", "info"),
        ("no model in service", "warning"),
        ("no model in service", "warning"),
    ]


async def test_the_decoder_speaks_once_for_both_while_nothing_is_doubted():
    inference, _, watch = watched({1: (A, A)})
    for _ in range(5):
        await served(watch)
    assert inference.calls["identity"] == 1


async def test_a_doubted_model_is_asked_for_its_identity_anew():
    inference, models, watch = watched({1: (A, A)})
    doubted = await served(watch)
    inference.models = {1: (B, B)}
    assert (await models.refresh(doubted)).identity == B


async def test_a_version_that_goes_and_comes_back_is_asked_anew():
    inference, _, watch = watched({1: (A, A), 2: (B, B)})
    await served(watch)
    inference.models = {1: (A, A)}
    assert (await served(watch)).version == 1
    inference.models = {1: (A, A), 2: (A, A)}
    assert await served(watch) == ServedModel(2, A)


async def test_a_click_waits_while_files_are_replaced_one_after_the_other():
    inference, models, watch = watched({1: (A, A)})
    doubted = await served(watch)
    inference.models = {1: (A, B)}
    waiting = asyncio.create_task(models.refresh(doubted))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    inference.models = {1: (B, B)}
    await asyncio.sleep(0.02)
    await watch.look()
    assert await waiting == ServedModel(1, B)


async def test_a_version_that_does_not_answer_leaves_the_older_one_serving():
    inference, _, watch = watched({1: (A, A)})
    await served(watch)
    inference.models = {1: (A, A), 2: ()}
    assert await served(watch) == ServedModel(1, A)


def counting_supervisor():
    restarts = []
    return Supervisor(dict, lambda: restarts.append(1)), restarts


async def test_a_model_that_leaves_clicks_unanswered_goes_out_of_service_until_it_has_answered():
    supervisor, restarts = counting_supervisor()
    _, models, watch = watched({1: (A, A)}, hang=0.05, supervisor=supervisor)
    await served(watch)
    with models._progress.asked("sam_decoder"):
        await watch.look()
        assert models.current.version == 1
        await asyncio.sleep(0.06)
        await watch.look()
    assert restarts == [1]
    with pytest.raises(NoModelInService, match=r"sam_decoder left clicks without an answer for 0\.05 seconds"):
        _ = models.current
    assert (await served(watch)).version == 1


async def test_the_encoder_of_a_server_that_nobody_can_start_anew_must_answer_before_it_serves_again():
    inference, models, watch = watched({1: (A, A)}, hang=0.05)
    await served(watch)
    with models._progress.asked("sam_encoder"):
        await asyncio.sleep(0.06)
        await watch.look()
    before = inference.calls["identity"]
    await served(watch)
    assert inference.calls["identity"] == before + 2


async def test_a_server_that_does_not_answer_at_all_is_started_anew():
    supervisor, restarts = counting_supervisor()
    inference, _, watch = watched({1: (A, A)}, hang=0.05, supervisor=supervisor)
    await served(watch)
    inference.error = TritonUnavailable("frozen")
    await watch.look()
    assert restarts == []
    await asyncio.sleep(0.06)
    await watch.look()
    assert restarts == [1]


async def test_a_model_whose_askers_have_all_gone_is_asked_whether_it_hangs(monkeypatch):
    monkeypatch.setattr(progress, "_SUSPICIOUS_SECONDS", 0.01)
    _, models, watch = watched({1: (A, A)}, hang=0.05)
    await served(watch)
    with contextlib.suppress(asyncio.CancelledError), models._progress.asked("sam_decoder"):
        raise asyncio.CancelledError
    await asyncio.sleep(0.02)
    await watch.look()
    await watch._probing
    assert models._progress.given_up() == set(), "it answered"
    assert models.current.version == 1
