import pytest
import torch

from export.networks.decoder import MOST_ABSORBED, NOT_A_POINT, PADDING, Decoder
from export.verification import Prompt, graph_inputs, predict, tokens


@pytest.fixture(scope="module")
def decoder(small_sam):
    return Decoder(small_sam, "identity").eval()


def random_points(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "points": torch.rand(count, 2, generator=generator) * 1024,
        "labels": torch.randint(0, 2, (count,), generator=generator),
    }


BOX = torch.tensor([100.0, 200.0, 700.5, 900.0])
MASK = torch.randn(1, 256, 256, generator=torch.Generator().manual_seed(1)) * 8
PROMPTS = [
    *(Prompt(f"{count} points", **random_points(count)) for count in (1, 2, 5, 17)),
    Prompt("a point outside", points=torch.tensor([[-3.0, 2000.0]]), labels=torch.tensor([1])),
    Prompt("a box", box=BOX),
    Prompt("a box and points", **random_points(3), box=BOX),
    Prompt("a mask", mask=MASK),
    Prompt("a mask and a point", **random_points(1), mask=MASK),
    Prompt("a mask, a box and points", **random_points(4), box=BOX, mask=MASK),
]


def embedding(seed):
    return torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(seed))


def decode(decoder, inputs):
    with torch.inference_mode():
        return decoder(**{name: torch.from_numpy(value) for name, value in inputs.items()})


def assert_same_answer(answer, expected):
    for actual, wanted in zip(answer, expected, strict=True):
        torch.testing.assert_close(actual, torch.as_tensor(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [MOST_ABSORBED, 20])
@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_masks_and_scores_are_those_of_segment_anything(decoder, small_sam, prompt, length):
    with torch.inference_mode():
        expected = predict(small_sam, embedding(0), prompt)
    inputs = graph_inputs(embedding(0), prompt, max(length, len(tokens(prompt)[1])))
    masks, scores, _ = decode(decoder, inputs)
    assert_same_answer((masks[0], scores[0]), expected)


def test_padding_points_do_not_change_the_answer(decoder):
    prompt = PROMPTS[1]
    alone = decode(decoder, graph_inputs(embedding(0), prompt, 3))
    for length in (4, 8, 64):
        padded = decode(decoder, graph_inputs(embedding(0), prompt, length))
        assert_same_answer(padded[:2], alone[:2])


def test_points_that_are_sams_not_a_point_do_change_the_answer(decoder):
    """Which is why padding needs a label of its own."""
    inputs = graph_inputs(embedding(0), PROMPTS[1], 8)
    padded = decode(decoder, inputs)
    inputs["point_labels"][inputs["point_labels"] == PADDING] = NOT_A_POINT
    inputs["point_coords"][:] = torch.nan_to_num(torch.from_numpy(inputs["point_coords"]))
    assert (decode(decoder, inputs)[0] - padded[0]).abs().max() > 1e-3


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(decoder):
    requests = [graph_inputs(embedding(seed), prompt, 20) for seed, prompt in enumerate(PROMPTS)]
    together = decode(
        decoder, {name: torch.cat([torch.from_numpy(r[name]) for r in requests]).numpy() for name in requests[0]}
    )
    for row, request in enumerate(requests):
        alone = decode(decoder, request)
        assert_same_answer([answer[row] for answer in together[:2]], [answer[0] for answer in alone[:2]])


@pytest.mark.parametrize("content", [float("nan"), float("inf"), 3e38, -7.0])
def test_an_unused_mask_input_has_no_influence_whatever_it_holds(decoder, content):
    inputs = graph_inputs(embedding(0), PROMPTS[0], 4)
    inputs["mask_input"][:] = 0
    clean = decode(decoder, inputs)
    inputs["mask_input"][:] = content
    soiled = decode(decoder, inputs)
    assert torch.equal(soiled[0], clean[0])
    assert torch.equal(soiled[1], clean[1])


def test_a_decoder_without_branches_computes_the_same(decoder, small_sam):
    plain = Decoder(small_sam, "identity", branching=False).eval()
    for prompt in (PROMPTS[0], PROMPTS[-1]):
        inputs = graph_inputs(embedding(0), prompt, 8)
        assert_same_answer(decode(plain, inputs)[:2], decode(decoder, inputs)[:2])


def test_candidates_depend_on_image_point_and_mask(decoder):
    """Else every comparison above would be empty."""
    base = decode(decoder, graph_inputs(embedding(0), PROMPTS[0], 20))[0]
    assert 0.02 < (base > 0).float().mean() < 0.98
    for seed, prompt in ((1, PROMPTS[0]), (0, PROMPTS[2]), (0, PROMPTS[8])):
        other = decode(decoder, graph_inputs(embedding(seed), prompt, 20))[0]
        assert (other - base).abs().max() > 1e-2
