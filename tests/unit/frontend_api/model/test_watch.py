"""ModelWatch: the newest version whose encoder and decoder carry one identity."""

import asyncio

import pytest
from structlog.testing import capture_logs

from frontend_api.errors import NoModelInService, TritonUnavailable
from frontend_api.metrics import Metrics
from frontend_api.model.served_model import ServedModel
from frontend_api.model.watch import ModelWatch
from tests.support.fake_inference import FakeInference

A, B = "vit_b/fp32/aaaa", "vit_b/fp16/bbbb"


def watch(models, **options):
    inference = FakeInference(models)
    return inference, ModelWatch(inference, Metrics(), interval=0.01, patience=0.2, **{"handover": 1.0} | options)


async def served(model_watch):
    """Look once, and let what follows from it happen."""
    await model_watch._check()
    if model_watch._confirming is not None:
        await model_watch._confirming
    return model_watch.current


@pytest.mark.parametrize(
    ("models", "version", "identity"),
    [
        ({1: (A, A)}, 1, A),
        ({1: (A, A), 2: (B, B)}, 2, B),
        ({9: (A, A), 10: (B, B)}, 10, B),
    ],
)
async def test_the_newest_consistent_version_is_served(models, version, identity):
    _, model_watch = watch(models)
    assert await served(model_watch) == ServedModel(version, identity)


async def test_variant_and_precision_come_from_the_identity():
    _, model_watch = watch({1: (B, B)})
    model = await served(model_watch)
    assert (model.variant, model.precision) == ("vit_b", "fp16")


async def test_without_a_ready_version_the_error_says_so():
    _, model_watch = watch({})
    with pytest.raises(NoModelInService, match=r"no version is ready in both.*none"):
        await served(model_watch)


async def test_where_encoder_and_decoder_do_not_belong_together_both_are_named():
    _, model_watch = watch({3: (A, B)})
    contradicted = await served(model_watch)
    with pytest.raises(NoModelInService) as caught:
        await model_watch.refresh(contradicted)
    assert all(words in str(caught.value) for words in ("version 3", A, B, "one checkpoint"))
    assert model_watch.failures == {"pair/3": str(caught.value).partition(": ")[2]}


async def test_a_mismatch_gives_way_to_an_older_consistent_pair():
    _, model_watch = watch({1: (A, A), 2: (A, B)})
    contradicted = await served(model_watch)
    assert await model_watch.refresh(contradicted) == ServedModel(1, A)
    assert list(model_watch.failures) == ["pair/2"]


async def test_a_newer_mismatch_never_comes_into_service():
    inference, model_watch = watch({1: (A, A)})
    await served(model_watch)
    inference.models = {1: (A, A), 2: (A, B)}
    seen = set()
    for _ in range(20):
        await model_watch._check()
        seen.add(model_watch.current.version)
        await asyncio.sleep(0.001)
    assert seen == {1}
    assert list(model_watch.failures) == ["pair/2"]
    inference.models = {1: (A, A), 2: (B, B)}
    await asyncio.sleep(0.05)
    assert await served(model_watch) == ServedModel(2, B)
    assert model_watch.failures == {}


async def test_a_newer_pair_takes_over_once_it_is_prepared():
    inference, model_watch = watch({1: (A, A)})
    prepared = asyncio.Event()
    asked = []

    async def prepare(model):
        asked.append(model)
        await prepared.wait()

    model_watch.before_handover(prepare)
    await served(model_watch)
    assert asked == []
    inference.models = {1: (A, A), 2: (B, B)}
    for _ in range(5):
        await model_watch._check()
        await asyncio.sleep(0.001)
    assert model_watch.current.version == 1
    assert asked == [ServedModel(2, B)]
    prepared.set()
    assert await served(model_watch) == ServedModel(2, B)


@pytest.mark.parametrize("left", [{2: (B, B)}, {1: (A, A)}])
async def test_what_goes_during_a_handover_ends_it(left):
    inference, model_watch = watch({1: (A, A)})
    model_watch.before_handover(lambda _: asyncio.sleep(0.05))
    await served(model_watch)
    inference.models = {1: (A, A), 2: (B, B)}
    await model_watch._check()
    await asyncio.sleep(0.01)
    inference.models = left
    await model_watch._check()
    assert model_watch.current.version in left
    await asyncio.sleep(0.1)
    assert model_watch.current.version in left


async def test_preparations_that_take_too_long_are_not_waited_for():
    inference, model_watch = watch({1: (A, A)}, handover=0.02)
    model_watch.before_handover(lambda _: asyncio.sleep(60))
    await served(model_watch)
    inference.models = {1: (A, A), 2: (B, B)}
    assert (await served(model_watch)).version == 2


async def test_a_handover_whose_preparations_break_takes_place():
    inference, model_watch = watch({1: (A, A)})

    async def prepare(_):
        raise RuntimeError("unforeseen")

    model_watch.before_handover(prepare)
    await served(model_watch)
    inference.models = {1: (A, A), 2: (B, B)}
    with capture_logs() as logs:
        assert (await served(model_watch)).version == 2
    assert "a newer model takes over unprepared" in [line["event"] for line in logs]


async def test_an_unforeseen_error_does_not_end_the_watch():
    inference, model_watch = watch({1: (A, A)})
    inference.error = RuntimeError("unforeseen")
    watching = asyncio.create_task(model_watch.run())
    with capture_logs() as logs:
        await asyncio.sleep(0.01)
        inference.error = None
        async with asyncio.timeout(2):
            while not model_watch.reachable:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
    assert "the model server's answer was not understood" in [line["event"] for line in logs]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_failures_are_those_of_who_knows_better():
    told = {"sam_decoder": "failed to read text proto"}
    _, model_watch = watch({1: (A, A)}, failures=lambda: told)
    await served(model_watch)
    assert model_watch.failures == told


async def test_a_silent_server_takes_the_model_out_of_service_and_its_return_brings_it_back():
    inference, model_watch = watch({1: (A, A)})
    await served(model_watch)
    inference.error = TritonUnavailable("nobody there")
    with pytest.raises(NoModelInService, match="nobody there"):
        await served(model_watch)
    assert not model_watch.reachable
    inference.error = None
    assert (await served(model_watch)).version == 1


async def test_a_model_that_goes_is_a_warning_and_one_that_has_not_come_yet_is_none():
    inference, model_watch = watch({1: (A, A)})
    with capture_logs() as logs:
        for error in (
            TritonUnavailable("it starts"),
            None,
            TritonUnavailable("it died"),
            TritonUnavailable("it is still dead"),
        ):
            inference.error = error
            await model_watch._check()
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("no model in service", "info"),
        ("model in service", "info"),
        ("no model in service", "warning"),
        ("no model in service", "warning"),
    ]


async def test_the_decoder_speaks_once_for_both_while_nothing_is_doubted():
    inference, model_watch = watch({1: (A, A)})
    for _ in range(5):
        await served(model_watch)
    assert inference.calls["identity"] == 1


async def test_a_doubted_model_is_asked_for_its_identity_anew():
    inference, model_watch = watch({1: (A, A)})
    doubted = await served(model_watch)
    inference.models = {1: (B, B)}
    assert (await model_watch.refresh(doubted)).identity == B


async def test_a_version_that_goes_and_comes_back_is_asked_anew():
    inference, model_watch = watch({1: (A, A), 2: (B, B)})
    await served(model_watch)
    inference.models = {1: (A, A)}
    assert (await served(model_watch)).version == 1
    inference.models = {1: (A, A), 2: (A, A)}
    assert await served(model_watch) == ServedModel(2, A)


async def test_a_click_waits_while_files_are_replaced_one_after_the_other():
    inference, model_watch = watch({1: (A, A)})
    doubted = await served(model_watch)
    inference.models = {1: (A, B)}
    waiting = asyncio.create_task(model_watch.refresh(doubted))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    inference.models = {1: (B, B)}
    await asyncio.sleep(0.02)
    await model_watch._check()
    assert await waiting == ServedModel(1, B)


async def test_a_version_that_does_not_answer_leaves_the_older_one_serving():
    inference, model_watch = watch({1: (A, A)})
    await served(model_watch)
    inference.models = {1: (A, A), 2: ()}
    assert await served(model_watch) == ServedModel(1, A)
