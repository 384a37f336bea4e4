"""ModelWatch: the newest version whose encoder and decoder carry one identity."""

import asyncio

import pytest

from frontend_api.errors import NoModelInService, TritonUnavailable
from frontend_api.metrics import Metrics
from frontend_api.segmentation.served_model import ModelWatch, ServedModel
from tests.support.fake_inference import FakeInference

A, B = "vit_b/fp32/aaaa", "vit_b/fp16/bbbb"


def watch(models):
    inference = FakeInference(models)
    return inference, ModelWatch(inference, Metrics(), interval=0.01, patience=0.2)


async def served(model_watch):
    await model_watch._check()
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


async def test_an_encoder_of_another_checkpoint_is_found_out_when_doubted_and_both_are_named():
    _, model_watch = watch({3: (A, B)})
    doubted = await served(model_watch)
    with pytest.raises(NoModelInService) as caught:
        await model_watch.refresh(doubted)
    assert all(words in str(caught.value) for words in ("version 3", A, B, "one checkpoint"))


async def test_a_doubted_mismatch_gives_way_to_an_older_consistent_pair():
    _, model_watch = watch({1: (A, A), 2: (A, B)})
    doubted = await served(model_watch)
    assert doubted.version == 2
    assert await model_watch.refresh(doubted) == ServedModel(1, A)
    assert await served(model_watch) == ServedModel(1, A)


async def test_a_silent_server_takes_the_model_out_of_service_and_its_return_brings_it_back():
    inference, model_watch = watch({1: (A, A)})
    await served(model_watch)
    inference.error = TritonUnavailable("nobody there")
    with pytest.raises(NoModelInService, match="nobody there"):
        await served(model_watch)
    assert not model_watch.reachable
    inference.error = None
    assert (await served(model_watch)).version == 1


async def test_a_decoder_is_asked_once_and_an_encoder_never_while_nothing_is_doubted():
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
